/* SPDX-License-Identifier: Apache-2.0
 * Resolves what a service declares, once, and asserts that it can be kept. */
#include <assert.h>
#include <string.h>

#include "common/base/text.h"
#include "common/store/query.h"

static void check_name(const char *name, const char *alphabet)
{
    size_t length = strnlen(name, STORE_NAME_MAX);
    assert(length > 0 && length < STORE_NAME_MAX);
    assert(strspn(name, alphabet) == length);
    (void)length;
}

size_t store_collection_field(const struct store_collection *collection, const char *path)
{
    for (size_t i = 0; i < collection->field_count; i++) {
        if (text_equal(collection->fields[i].path, path)) {
            return i;
        }
    }
    assert(!"the field is not in the store");
    return 0;
}

static void resolve_index(struct store_collection *collection, const struct index *declared)
{
    assert(collection->index_count < STORE_INDEXES_MAX);
    struct store_index *index = &collection->indexes[collection->index_count++];
    check_name(declared->name, "abcdefghijklmnopqrstuvwxyz_0123456789");
    index->name = declared->name;
    for (size_t i = 0; declared->fields[i]; i++) {
        assert(i < STORE_INDEX_FIELDS_MAX);
        index->fields[index->field_count++] = store_collection_field(collection, declared->fields[i]);
    }
    assert(store_cursor_fits(collection, index));
}

void store_collection_init(struct store_collection *collection, const struct collection *declared, size_t position)
{
    check_name(declared->name, "abcdefghijklmnopqrstuvwxyz_");
    *collection = (struct store_collection){.declared = declared, .position = position};
    collection->field_count = table_flatten(declared->table, IN_STORE, collection->fields);
    for (size_t i = 0; declared->indexes && declared->indexes[i].name; i++) {
        resolve_index(collection, &declared->indexes[i]);
    }
}
