/* SPDX-License-Identifier: Apache-2.0
 * The subjects and entities of the catalogue. */
#include "common/events/catalogue.h"

#include "common/base/text.h"

const struct entity entity_ticket = {.name = "ticket", .table = &ticket_table, .publisher = "tickets"};
const struct entity entity_order = {.name = "order", .table = &order_table, .publisher = "orders"};
const struct entity entity_payment = {.name = "payment", .table = &payment_table, .publisher = "payments"};
const struct entity entity_expiration = {.name = "expiration", .table = &expiration_table, .publisher = "expiration"};

#define EVENT_DEFINE(c_name, subject_name, entity_name, struct_type)                                                   \
    const struct subject subject_##c_name = {.name = (subject_name), .entity = &entity_##entity_name};
EVENT_CATALOGUE(EVENT_DEFINE)
#undef EVENT_DEFINE

#define EVENT_LIST(c_name, subject_name, entity_name, struct_type) &subject_##c_name,
const struct subject *const catalogue_subjects[] = {EVENT_CATALOGUE(EVENT_LIST) NULL};
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
