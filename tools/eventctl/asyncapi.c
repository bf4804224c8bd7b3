/* SPDX-License-Identifier: Apache-2.0
 * The catalogue as JSON Schema and AsyncAPI. */
#include "tools/eventctl/asyncapi.h"

#include <assert.h>

#include "common/events/message.h"

/* An event is the entity with "meta" behind its fields, so its schema is that of a table which has that field too. */
void event_schema_print(const struct subject *subject, struct buffer *buffer)
{
    struct field fields[SCHEMA_FIELDS_MAX + 1] = {{.name = NULL}};
    size_t count = 0;
    for (const struct field *field = subject->entity->table->fields; field->name != NULL; field++) {
        assert(count < SCHEMA_FIELDS_MAX - 1);
        fields[count++] = *field;
    }
    fields[count] = (struct field){
        .name = "meta",
        .type = FIELD_OBJECT,
        .in = IN_EVENT,
        .object = &event_meta_table,
        .description = "About the event itself; consumers can do without",
    };
    struct table table = *subject->entity->table;
    table.name = subject->name;
    table.may_be_absent = subject->is_snapshot;
    table.fields = fields;
    schema_print_json_schema(&table, IN_EVENT, buffer);
}

/* Also tells services in other languages how to follow snapshots, and how to ask for one. */
static void print_description(const struct subject *subject, struct buffer *buffer)
{
    const char *publisher = subject->entity->publisher;
    const char *name = subject->entity->name;
    if (!subject->is_snapshot) {
        buffer_printf(buffer, "%s events, published by the service %s", name, publisher);
        return;
    }
    buffer_printf(
        buffer,
        "The present state of one %s, published by the service %s without a change. It replaces what is stored "
        "if its meta.epoch is higher, whatever its version, or if its version is higher in the same epoch; "
        "version 0 in a higher epoch removes it. To ask for one, signal \\\"%s <id> <nonce>\\\" on the topic "
        "%s.ask; on %s.answer comes \\\"%s <id> <nonce> <version> <epoch>\\\".",
        name, publisher, name, publisher, name, name);
}

/* "subscribe" is what others can do there: the document is about Turnstile, which publishes. */
static void print_channel(const struct subject *subject, struct buffer *buffer)
{
    const char *publisher = subject->entity->publisher;
    buffer_printf(buffer, "\"%s\":{\"description\":\"", subject->name);
    print_description(subject, buffer);
    buffer_printf(
        buffer,
        "\",\"subscribe\":{\"operationId\":\"%s\",\"summary\":\"Published by %s\",\"tags\":[{\"name\":\"%s\"}],"
        "\"x-publisher\":\"%s\",",
        subject->name, publisher, publisher, publisher);
    buffer_printf(buffer,
                  "\"message\":{\"messageId\":\"%s\",\"name\":\"%s\",\"title\":\"%s\","
                  "\"contentType\":\"application/json\",\"payload\":",
                  subject->name, subject->name, subject->name);
    event_schema_print(subject, buffer);
    buffer_append_text(buffer, "}}}");
}

void asyncapi_print(struct buffer *buffer)
{
    buffer_append_text(buffer,
                       "{\"asyncapi\":\"2.6.0\",\"info\":{\"title\":\"Turnstile\",\"version\":\"" TURNSTILE_VERSION
                       "\",\"description\":\"What the services of the ticket marketplace tell each other. Each "
                       "event carries the whole public state of its entity as of its version.\"},"
                       "\"defaultContentType\":\"application/json\",\"channels\":{");
    for (size_t i = 0; catalogue_subjects[i] != NULL; i++) {
        if (i > 0) {
            buffer_append_char(buffer, ',');
        }
        print_channel(catalogue_subjects[i], buffer);
    }
    buffer_append_text(buffer, "}}");
}
