/* SPDX-License-Identifier: Apache-2.0
 * Field tables: one description of an entity for its request, its answer, its event and its row.
 *
 * An entity is a plain struct that owns nothing: strings are bounded arrays inside it. A field that is absent has
 * its zero value ("" or 0 or false), and zero is never a valid present value of an optional field: a zero within its
 * limits is read as its absence. */
#ifndef TURNSTILE_SCHEMA_TABLE_H
#define TURNSTILE_SCHEMA_TABLE_H

#include "common/schema/record.h"

enum {
    SCHEMA_FIELDS_MAX = 32, /* of one table, nested ones included when flattened */
    SCHEMA_DEPTH_MAX = 16,  /* nesting of JSON that is parsed, ignored parts included */
    SCHEMA_PATH_MAX = 64,   /* bytes of "ticket.price", with the NUL */
    EMAIL_MAX = 254,        /* bytes, RFC 5321 section 4.5.3.1.3 less the brackets */
};

enum field_type {
    FIELD_ID,      /* struct id; JSON: a string of 24 hex digits */
    FIELD_TEXT,    /* char[size]; min and max count code points */
    FIELD_EMAIL,   /* char[EMAIL_MAX + 1]; white space around it removed, lower-cased (ASCII): the normalised form */
    FIELD_INTEGER, /* int64_t; min and max are values */
    FIELD_MONEY,   /* int64_t cents; min and max in cents; JSON: a number with at most two decimals. In requests a
                      decimal string ("12.50") is accepted too. */
    FIELD_TIME,    /* int64_t milliseconds since 1970 UTC; JSON: ISO 8601; min and max are not used */
    FIELD_BOOLEAN, /* bool; false is printed only if the field is required */
    FIELD_CHOICE,  /* int32_t, an index into `choices`; JSON: the choice's name. For an optional field, or where
                      choices[0] is "", 0 is absent and choices[0] not a valid input. */
    FIELD_OBJECT,  /* the struct that `object` describes */
};

/* Where a field appears. */
enum field_in {
    IN_REQUEST = 1,
    IN_RESPONSE = 2,
    IN_EVENT = 4,
    IN_STORE = 8,
    IN_ALL = 15,
    IN_PUBLIC = 14, /* all but the request */
};

enum field_rule {
    RULE_NOT_BLANK = 1,  /* something besides white space */
    RULE_NO_CONTROL = 2, /* no control characters */
    RULE_SECRET = 4,     /* never printed in errors or logs */
};

struct table;

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    size_t size;                /* bytes of the member */
    int64_t min, max;           /* see field_type; max 0 with a min of 0 or more: no upper bound */
    bool required;              /* wherever it appears */
    unsigned in;                /* field_in, or-ed */
    unsigned rules;             /* field_rule, or-ed */
    const char *const *choices; /* FIELD_CHOICE: names, NULL-terminated */
    const struct table *object; /* FIELD_OBJECT */
    const char *description;    /* one line, for the JSON Schema; may be NULL */
};

struct table {
    const char *name;           /* "ticket" */
    size_t size;                /* of the struct */
    bool versioned;             /* carries a record's head: id and version in answers and events */
    bool may_be_absent;         /* its JSON Schema allows version 0: no such record, and no other field */
    const struct field *fields; /* ends with a NULL name */
};

/* FIELD(struct ticket, title, …) fills name, offset and size from the member; FIELD_NAMED gives another JSON name. */
#define FIELD_NAMED(json_name, struct_type, member, field_type_, ...)                                                  \
    {                                                                                                                  \
        .name = (json_name), .type = (field_type_), .offset = offsetof(struct_type, member),                           \
        .size = sizeof(((struct_type *)0)->member), __VA_ARGS__                                                        \
    }
#define FIELD(struct_type, member, field_type_, ...) FIELD_NAMED(#member, struct_type, member, field_type_, __VA_ARGS__)

/* One field with nested objects unfolded: path "ticket.price", offset from the outermost struct. A field is required
 * if it and all objects around it are. Its absence: see field_is_absent. */
struct flat_field {
    char path[SCHEMA_PATH_MAX];
    const struct field *field;
    size_t offset;
    bool required;
};

/* The fields that appear in any of `in`, in order, at most SCHEMA_FIELDS_MAX (asserted). Returns how many. */
size_t table_flatten(const struct table *table, unsigned in, struct flat_field ret_fields[static SCHEMA_FIELDS_MAX]);

/* The flattened field of this path, or false. */
bool table_find(const struct table *table, unsigned in, const char *path, struct flat_field *ret_field) MUST_CHECK;

/* `member` points at the field's own memory (value + offset). */
bool field_is_absent(const struct field *field, const void *member);

/* True if the object carries a record's id and version there: a versioned table's in answers and events. */
bool table_has_head(const struct table *table, enum field_in in);

/* The index of a name in `choices`, or -1. */
int32_t choice_from_text(const char *const *choices, const char *text);
/* The name of an index, or NULL if there is none. */
const char *choice_to_text(const char *const *choices, int32_t index);

#endif
