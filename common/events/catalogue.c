/* SPDX-License-Identifier: Apache-2.0
 * The subjects and entities of the catalogue. */
#include "common/events/catalogue.h"

#include "common/base/text.h"
#include "common/events/dead_letter.h"
#include "common/store/store.h"

const struct entity entity_ticket = {.name = "ticket", .table = &ticket_table, .publisher = "tickets"};
const struct entity entity_order = {.name = "order", .table = &order_table, .publisher = "orders"};
const struct entity entity_payment = {.name = "payment", .table = &payment_table, .publisher = "payments"};
const struct entity entity_expiration = {.name = "expiration", .table = &expiration_table, .publisher = "expiration"};

#define EVENT_DEFINE(c_name, subject_name, entity_name, struct_type)                                                   \
    const struct subject subject_##c_name = {.name = (subject_name), .entity = &entity_##entity_name};
EVENT_CHANGES(EVENT_DEFINE)
#undef EVENT_DEFINE

#define EVENT_DEFINE(c_name, subject_name, entity_name, struct_type)                                                   \
    const struct subject subject_##c_name = {                                                                          \
        .name = (subject_name), .entity = &entity_##entity_name, .is_snapshot = true};
EVENT_SNAPSHOTS(EVENT_DEFINE)
#undef EVENT_DEFINE

#define EVENT_LIST(c_name, subject_name, entity_name, struct_type) &subject_##c_name,
const struct subject *const catalogue_subjects[] = {EVENT_CHANGES(EVENT_LIST) EVENT_SNAPSHOTS(EVENT_LIST) NULL};
#undef EVENT_LIST

#define EVENT_LIST(c_name, subject_name, entity_name, struct_type)                                                     \
    (subject_name), DEAD_LETTER_PREFIX subject_name, RESOLVED_PREFIX subject_name,
const char *const catalogue_bus_subjects[] = {EVENT_CHANGES(EVENT_LIST) EVENT_SNAPSHOTS(EVENT_LIST) NULL};
#undef EVENT_LIST

const struct subject *catalogue_find(const char *name)
{
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        if (text_equal((*subject)->name, name)) {
            return *subject;
        }
    }
    return NULL;
}

const struct subject *catalogue_snapshot(const struct entity *entity)
{
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        if ((*subject)->entity == entity && (*subject)->is_snapshot) {
            return *subject;
        }
    }
    return NULL;
}

const struct entity *catalogue_published(const char *service, const struct collection *collection)
{
    for (const struct subject *const *subject = catalogue_subjects; *subject != NULL; subject++) {
        const struct entity *entity = (*subject)->entity;
        if (text_equal(entity->publisher, service) && entity->table == collection->table) {
            return entity;
        }
    }
    return NULL;
}
