/* SPDX-License-Identifier: Apache-2.0
 * What is declared, resolved; and from a query to the ranges of its index, the filters that remain, and cursors: the
 * same for every driver. */
#ifndef TURNSTILE_STORE_QUERY_H
#define TURNSTILE_STORE_QUERY_H

#include "common/store/driver.h"

/* Asserts what is declared: names, fields, and that cursors have room. */
void store_collection_init(struct store_collection *collection, const struct collection *declared, size_t position);
/* The position of a field, asserted. */
size_t store_collection_field(const struct store_collection *collection, const char *path);

/* A condition, resolved: its field's position in the collection and the value to compare with. */
struct store_condition {
    enum query_operator test;
    size_t field;
    struct store_value value;
};

/* A place in an index: the values of the fields behind those that the query fixes, and the id. */
struct store_cursor {
    size_t value_count;
    struct store_value values[STORE_INDEX_FIELDS_MAX];
    struct id id;
    char *data; /* what the values' texts point into */
};

/* Usable with CLEANUP. */
void store_cursor_done(struct store_cursor *cursor);
/* Whether any cursor of this index fits in STORE_CURSOR_MAX. */
bool store_cursor_fits(const struct store_collection *collection, const struct store_index *index);
/* `skip`: how many of the index's fields the query fixes. */
void store_cursor_print(const struct store_collection *collection, const struct store_index *index, size_t skip,
                        const struct record *head, const void *entity, char ret_text[static STORE_CURSOR_MAX]);
/* ERROR_INVALID unless `text` was printed for this index and `skip`. Caller releases with store_cursor_done. */
bool store_cursor_parse(const struct store_collection *collection, const struct store_index *index, size_t skip,
                        const char *text, struct store_cursor *ret_cursor, struct error *error) MUST_CHECK;

/* What a list does: scans ranges and filters what it finds. */
struct store_plan {
    struct store_scan scan; /* without its limit */
    size_t fixed;           /* fields of the index that the conditions fix */
    size_t filter_count;
    struct store_condition filters[QUERY_CONDITIONS_MAX];
    int64_t changed_since;      /* 0: whenever */
    struct store_cursor cursor; /* what the ranges' texts may point into */
};

#define STORE_PLAN_INIT ((struct store_plan){.fixed = 0})

void store_plan_done(struct store_plan *plan);
/* ERROR_INVALID for a cursor or a text that cannot be; everything undeclared is asserted. The plan borrows from the
 * query. Caller releases with store_plan_done, also after false. */
bool store_plan_make(const struct store_collection *collection, const struct query *query, struct store_plan *plan,
                     struct error *error) MUST_CHECK;
/* Whether there are filters: then a scan may have to look at more than it gives. */
bool store_plan_filters(const struct store_plan *plan);
/* Whether a record passes the filters. */
bool store_plan_accepts(const struct store_plan *plan, const struct record *head, const void *entity);

/* Runs a plan and fills a page, as store_list has it. */
bool store_page_read(const struct store_driver *driver, void *state, struct store_plan *plan, size_t limit,
                     struct page *ret_page, struct error *error) MUST_CHECK;
/* Fills a page of the outbox, as store_outbox_read has it. */
bool store_outbox_page_read(const struct store_driver *driver, void *state, const struct store_collection *collections,
                            size_t collection_count, const struct outbox_query *query, struct outbox_page *ret_page,
                            struct error *error) MUST_CHECK;

#endif
