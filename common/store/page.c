/* SPDX-License-Identifier: Apache-2.0
 * Fills pages from what a driver's scan finds: filters, limits, and where the next page begins. */
#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/store/query.h"

enum {
    PAGE_FIRST_CAPACITY = 16, /* records; doubled as they come */
};

void page_done(struct page *page)
{
    xfree(page->heads);
    xfree(page->values);
    *page = PAGE_INIT;
}

const void *page_value(const struct page *page, const struct collection *collection, size_t index)
{
    assert(index < page->count);
    return (const char *)page->values + index * collection->table->size;
}

/* A page in the making. `entity` is what the scan has just read, `last` what it looked at before that: where the
 * next page begins if this one ends here. */
struct filling {
    const struct store_plan *plan;
    size_t limit;
    size_t size; /* of an entity */
    size_t capacity;
    size_t looked;
    void *entity;
    void *last;
    struct record last_head;
    struct page page;
};

static void append(struct filling *filling, const struct record *head)
{
    struct page *page = &filling->page;
    if (page->count == filling->capacity) {
        size_t capacity = filling->capacity ? filling->capacity * 2 : PAGE_FIRST_CAPACITY;
        filling->capacity = capacity < filling->limit ? capacity : filling->limit;
        page->heads = xreallocarray(page->heads, filling->capacity, sizeof(page->heads[0]));
        page->values = xreallocarray(page->values, filling->capacity, filling->size);
    }
    page->heads[page->count] = *head;
    memcpy((char *)page->values + page->count * filling->size, filling->entity, filling->size);
    page->count++;
}

static bool end_with_more(struct filling *filling)
{
    const struct store_plan *plan = filling->plan;
    filling->page.more = true;
    store_cursor_print(plan->scan.collection, plan->scan.index, plan->fixed, &filling->last_head, filling->last,
                       filling->page.next);
    return false;
}

/* A full page looks for one record more that passes the filters, so that it does not promise an empty page. */
static bool visit(void *context, const struct record *head)
{
    struct filling *filling = context;
    if (filling->looked == STORE_SCAN_MAX) {
        return end_with_more(filling);
    }
    filling->looked++;
    if (store_plan_accepts(filling->plan, head, filling->entity)) {
        if (filling->page.count == filling->limit) {
            return end_with_more(filling);
        }
        append(filling, head);
    }
    memcpy(filling->last, filling->entity, filling->size);
    filling->last_head = *head;
    return true;
}

bool store_page_read(const struct store_driver *driver, void *state, struct store_plan *plan, size_t limit,
                     struct page *ret_page, struct error *error)
{
    size_t size = plan->scan.collection->declared->table->size;
    CLEANUP(free_pointer) void *entity = xcalloc(1, size);
    CLEANUP(free_pointer) void *last = xcalloc(1, size);
    struct filling filling = {
        .plan = plan, .limit = limit, .size = size, .entity = entity, .last = last, .page = PAGE_INIT};
    plan->scan.limit = store_plan_filters(plan) ? STORE_SCAN_MAX + 1 : limit + 1;
    struct store_visitor visitor = {.entity = entity, .context = &filling, .visit = visit};
    if (!driver->scan(state, &plan->scan, &visitor, error)) {
        page_done(&filling.page);
        return false;
    }
    *ret_page = filling.page;
    return true;
}

/* ---- outbox ---- */

void outbox_page_done(struct outbox_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        xfree(page->items[i].payload);
    }
    xfree(page->items);
    *page = OUTBOX_PAGE_INIT;
}

struct outbox_filling {
    const struct store_collection *collections;
    size_t collection_count;
    const struct outbox_query *query;
    size_t capacity;
    size_t bytes;
    struct outbox_page page;
};

static const struct collection *find_declared(const struct outbox_filling *filling, const char *name)
{
    for (size_t i = 0; i < filling->collection_count; i++) {
        const struct collection *declared = filling->collections[i].declared;
        if (text_equal(declared->name, name)) {
            return declared;
        }
    }
    return NULL;
}

static bool visit_entry(void *context, const char *name, const struct id *id, uint64_t version, int64_t created,
                        const char *subject, const char *payload, size_t length)
{
    struct outbox_filling *filling = context;
    struct outbox_page *page = &filling->page;
    const struct outbox_query *query = filling->query;
    const struct collection *collection = find_declared(filling, name);
    if (!collection) {
        return true;
    }
    bool too_large = query->bytes > 0 && page->count > 0 && filling->bytes + length > query->bytes;
    if (page->count == query->limit || too_large) {
        page->more = true;
        return false;
    }
    if (page->count == filling->capacity) {
        filling->capacity = filling->capacity ? filling->capacity * 2 : PAGE_FIRST_CAPACITY;
        page->items = xreallocarray(page->items, filling->capacity, sizeof(page->items[0]));
    }
    struct outbox_item *item = &page->items[page->count++];
    *item = (struct outbox_item){
        .collection = collection, .id = *id, .version = version, .created = created, .length = length};
    text_copy_cut(item->subject, sizeof(item->subject), subject);
    item->payload = xmalloc(length + 1);
    memcpy(item->payload, payload, length);
    item->payload[length] = '\0';
    filling->bytes += length;
    return true;
}

bool store_outbox_page_read(const struct store_driver *driver, void *state, const struct store_collection *collections,
                            size_t collection_count, const struct outbox_query *query, struct outbox_page *ret_page,
                            struct error *error)
{
    struct outbox_filling filling = {
        .collections = collections, .collection_count = collection_count, .query = query, .page = OUTBOX_PAGE_INIT};
    struct store_outbox_visitor visitor = {.context = &filling, .visit = visit_entry};
    if (!driver->outbox_scan(state, query, query->limit + 1, &visitor, error)) {
        outbox_page_done(&filling.page);
        return false;
    }
    *ret_page = filling.page;
    return true;
}
