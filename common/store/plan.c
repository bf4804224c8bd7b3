/* SPDX-License-Identifier: Apache-2.0
 * Plans lists: which ranges of the index to scan, in which order, and what is left to filter.
 *
 * What lies behind a cursor (v1, v2, id) of an index (c1, c2) is, in order: c1 = v1, c2 = v2, id > its id; then
 * c1 = v1, c2 > v2; then c1 > v1. Each is one run along the index, which any engine scans without sorting, and
 * absence, which comes first and compares with nothing, is a run of its own. */
#include <assert.h>
#include <string.h>

#include "common/base/text.h"
#include "common/store/query.h"

void store_plan_done(struct store_plan *plan)
{
    store_cursor_done(&plan->cursor);
}

/* The order of ids, which every collection has. No declared index has this name, so cursors tell them apart. */
static const struct store_index by_id = {.name = ""};

static const struct store_index *find_index(const struct store_collection *collection, const char *name)
{
    if (!name) {
        return &by_id;
    }
    for (size_t i = 0; i < collection->index_count; i++) {
        if (text_equal(collection->indexes[i].name, name)) {
            return &collection->indexes[i];
        }
    }
    assert(!"the index is not declared");
    return NULL;
}

static bool equal_value(const struct field *field, const struct query_condition *condition,
                        struct store_value *ret_value, struct error *error)
{
    struct store_value value = {.kind = store_field_kind(field), .number = condition->number};
    if (field->type == FIELD_CHOICE) {
        assert(condition->number >= 0);
        for (int64_t i = 0; i <= condition->number; i++) {
            assert(field->choices[i]);
        }
        value.text = field->choices[condition->number];
    } else if (field->type == FIELD_BOOLEAN) {
        value.number = condition->number != 0;
    } else if (value.kind == STORE_TEXT) {
        assert(condition->text);
        if (strnlen(condition->text, STORE_VALUE_TEXT_MAX) == STORE_VALUE_TEXT_MAX) {
            return error_set(error, ERROR_INVALID, "the text is longer than %d bytes", STORE_VALUE_TEXT_MAX - 1);
        }
        value.text = condition->text;
    }
    *ret_value = value;
    return true;
}

/* An optional field never has its zero value: asking for that is asking for its absence. */
static bool is_zero(const struct field *field, const struct query_condition *condition)
{
    bool in_text = store_field_kind(field) == STORE_TEXT && field->type != FIELD_CHOICE;
    return in_text ? condition->text[0] == '\0' : condition->number == 0;
}

static bool resolve(const struct store_collection *collection, const struct query_condition *condition,
                    struct store_condition *ret_condition, struct error *error)
{
    size_t position = store_collection_field(collection, condition->field);
    const struct flat_field *field = &collection->fields[position];
    struct store_condition resolved = {.test = condition->compare, .field = position};
    bool number = store_field_kind(field->field) == STORE_NUMBER && field->field->type != FIELD_BOOLEAN;
    switch (condition->compare) {
    case QUERY_ABSENT:
        break;
    case QUERY_EQUAL:
        if (!equal_value(field->field, condition, &resolved.value, error)) {
            return false;
        }
        if (!field->required && is_zero(field->field, condition)) {
            resolved.test = QUERY_ABSENT;
        }
        break;
    case QUERY_AT_LEAST:
    case QUERY_AT_MOST:
        assert(number);
        resolved.value = (struct store_value){.kind = STORE_NUMBER, .number = condition->number};
        break;
    case QUERY_CONTAINS:
        assert(field->field->type == FIELD_TEXT || field->field->type == FIELD_EMAIL);
        if (!equal_value(field->field, condition, &resolved.value, error)) {
            return false;
        }
        break;
    case QUERY_END:
        assert(!"the list of conditions has ended");
        break;
    }
    if (resolved.test == QUERY_ABSENT) {
        resolved.value = (struct store_value){.kind = STORE_ABSENT};
    }
    (void)number;
    *ret_condition = resolved;
    return true;
}

/* Takes the first condition that fixes this field out of the list. */
static bool take_equal(struct store_condition *conditions, size_t *count, size_t field, struct store_value *ret_value)
{
    for (size_t i = 0; i < *count; i++) {
        enum query_operator test = conditions[i].test;
        if (conditions[i].field == field && (test == QUERY_EQUAL || test == QUERY_ABSENT)) {
            *ret_value = conditions[i].value;
            memmove(&conditions[i], &conditions[i + 1], (*count - i - 1) * sizeof(conditions[0]));
            --*count;
            return true;
        }
    }
    return false;
}

/* Takes all conditions that bound this field out of the list, keeping the tightest. */
static void take_bounds(struct store_condition *conditions, size_t *count, size_t field, struct store_range *range)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        enum query_operator test = conditions[i].test;
        bool bounds = conditions[i].field == field && (test == QUERY_AT_LEAST || test == QUERY_AT_MOST);
        if (!bounds) {
            conditions[kept++] = conditions[i];
            continue;
        }
        struct store_bound *bound = test == QUERY_AT_LEAST ? &range->low : &range->high;
        int direction = test == QUERY_AT_LEAST ? 1 : -1;
        if (bound->kind == STORE_UNBOUNDED ||
            store_value_compare(&conditions[i].value, &bound->value) * direction > 0) {
            *bound = (struct store_bound){.kind = STORE_INCLUSIVE, .value = conditions[i].value};
        }
    }
    *count = kept;
}

static bool within(const struct store_range *range, const struct store_value *value)
{
    bool bounded = range->low.kind != STORE_UNBOUNDED || range->high.kind != STORE_UNBOUNDED;
    if (bounded && value->kind == STORE_ABSENT) {
        return false;
    }
    return (range->low.kind == STORE_UNBOUNDED || store_value_compare(value, &range->low.value) >= 0) &&
           (range->high.kind == STORE_UNBOUNDED || store_value_compare(value, &range->high.value) <= 0);
}

static struct store_range *add_range(struct store_scan *scan)
{
    assert(scan->range_count < STORE_RANGES_MAX);
    return &scan->ranges[scan->range_count++];
}

/* What is above `value` on the next field of `range`, ascending. */
static void add_above(struct store_scan *scan, struct store_range range, const struct store_value *value)
{
    bool bounded = range.low.kind != STORE_UNBOUNDED || range.high.kind != STORE_UNBOUNDED;
    if (value->kind == STORE_ABSENT) {
        range.present = !bounded;
    } else if (range.low.kind == STORE_UNBOUNDED || store_value_compare(value, &range.low.value) >= 0) {
        range.low = (struct store_bound){.kind = STORE_EXCLUSIVE, .value = *value};
    }
    *add_range(scan) = range;
}

/* What is below it, descending: absence comes last. */
static void add_below(struct store_scan *scan, struct store_range range, const struct store_value *value)
{
    if (value->kind == STORE_ABSENT) {
        return;
    }
    bool bounded = range.low.kind != STORE_UNBOUNDED || range.high.kind != STORE_UNBOUNDED;
    struct store_range absent = range;
    if (range.high.kind == STORE_UNBOUNDED || store_value_compare(value, &range.high.value) <= 0) {
        range.high = (struct store_bound){.kind = STORE_EXCLUSIVE, .value = *value};
    }
    *add_range(scan) = range;
    if (!bounded) {
        absent.equal[absent.equal_count++] = (struct store_value){.kind = STORE_ABSENT};
        *add_range(scan) = absent;
    }
}

/* Cuts `base` down to what lies behind the cursor. */
static void add_ranges_behind(struct store_scan *scan, const struct store_range *base,
                              const struct store_cursor *cursor)
{
    size_t fixed = base->equal_count;
    size_t last = scan->index->field_count;
    for (size_t next = last + 1; next-- > fixed;) {
        if (next > fixed && !within(base, &cursor->values[0])) {
            continue; /* the cursor is of a list with other bounds */
        }
        struct store_range range = *base;
        if (next > fixed) {
            range.low = range.high = (struct store_bound){.kind = STORE_UNBOUNDED};
        }
        for (size_t i = fixed; i < next; i++) {
            range.equal[range.equal_count++] = cursor->values[i - fixed];
        }
        struct store_value value = {.kind = STORE_TEXT, .text = cursor->id.hex};
        if (next < last) {
            value = cursor->values[next - fixed];
        }
        if (!scan->descending) {
            add_above(scan, range, &value);
        } else if (next < last) {
            add_below(scan, range, &value);
        } else {
            range.high = (struct store_bound){.kind = STORE_EXCLUSIVE, .value = value};
            *add_range(scan) = range;
        }
    }
}

bool store_plan_make(const struct store_collection *collection, const struct query *query, struct store_plan *plan,
                     struct error *error)
{
    assert(query->limit >= 1 && query->limit <= STORE_LIMIT_MAX && query->changed_since >= 0);
    const struct store_index *index = find_index(collection, query->index);
    for (size_t i = 0; query->conditions[i].compare != QUERY_END; i++) {
        assert(i < QUERY_CONDITIONS_MAX);
        if (!resolve(collection, &query->conditions[i], &plan->filters[plan->filter_count++], error)) {
            return false;
        }
    }
    struct store_range base = {.equal_count = 0};
    while (base.equal_count < index->field_count &&
           take_equal(plan->filters, &plan->filter_count, index->fields[base.equal_count],
                      &base.equal[base.equal_count])) {
        base.equal_count++;
    }
    plan->fixed = base.equal_count;
    plan->changed_since = query->changed_since;
    if (plan->fixed < index->field_count) {
        take_bounds(plan->filters, &plan->filter_count, index->fields[plan->fixed], &base);
    }
    plan->scan = (struct store_scan){.collection = collection, .index = index, .descending = query->descending};
    if (!query->after || query->after[0] == '\0') {
        *add_range(&plan->scan) = base;
        return true;
    }
    if (!store_cursor_parse(collection, index, plan->fixed, query->after, &plan->cursor, error)) {
        return false;
    }
    add_ranges_behind(&plan->scan, &base, &plan->cursor);
    return true;
}

bool store_plan_filters(const struct store_plan *plan)
{
    return plan->filter_count > 0 || plan->changed_since > 0;
}

bool store_plan_accepts(const struct store_plan *plan, const struct record *head, const void *entity)
{
    if (head->changed != 0 && head->changed < plan->changed_since) {
        return false;
    }
    for (size_t i = 0; i < plan->filter_count; i++) {
        const struct store_condition *filter = &plan->filters[i];
        struct store_value value = store_value_of(&plan->scan.collection->fields[filter->field], entity);
        bool present = value.kind != STORE_ABSENT;
        int order = store_value_compare(&value, &filter->value);
        bool accepted = false;
        switch (filter->test) {
        case QUERY_EQUAL:
        case QUERY_ABSENT:
            accepted = order == 0;
            break;
        case QUERY_AT_LEAST:
            accepted = present && order >= 0;
            break;
        case QUERY_AT_MOST:
            accepted = present && order <= 0;
            break;
        case QUERY_CONTAINS:
            accepted = present && text_contains_folded(value.text, filter->value.text);
            break;
        case QUERY_END:
            break;
        }
        if (!accepted) {
            return false;
        }
    }
    return true;
}
