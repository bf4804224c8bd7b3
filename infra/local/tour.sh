#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A tour of a running Turnstile with curl. `make up` prints it for pasting; it can be pasted as often as one likes.
U=http://localhost:8080
W=$(mktemp -d) N=$(date +%s) J='Content-Type: application/json'
id_of() { sed 's/^[^"]*"id" *: *"\([0-9a-f]*\)".*/\1/'; }

# a seller signs up, and so does a buyer; the sessions are kept in cookie jars
curl -sS -c "$W/seller" -H "$J" -d '{"email":"seller-'"$N"'@example.com","password":"a secret"}' "$U/api/users/signup"; echo
curl -sS -c "$W/buyer" -H "$J" -d '{"email":"buyer-'"$N"'@example.com","password":"a secret"}' "$U/api/users/signup"; echo

# the seller lists a ticket, everybody sees it, and its price changes
T=$(curl -sS -b "$W/seller" -H "$J" -d '{"title":"Concert '"$N"'","price":20}' "$U/api/tickets" | id_of)
curl -sS "$U/api/tickets/$T"; echo
curl -sS -b "$W/seller" -H "$J" -X PUT -d '{"title":"Concert '"$N"'","price":25.5}' "$U/api/tickets/$T"; echo

# the buyer reserves it (after a second: the other services hear of it by events), and it leaves the list
sleep 1
O=$(curl -sS -b "$W/buyer" -H "$J" -d '{"ticketId":"'"$T"'"}' "$U/api/orders" | id_of)
curl -sS -b "$W/buyer" "$U/api/orders/$O"; echo
sleep 1
curl -sS "$U/api/tickets?q=$N"; echo

# the buyer changes their mind, and it is back
curl -sS -b "$W/buyer" -X DELETE -w '%{http_code}\n' "$U/api/orders/$O"
sleep 1
curl -sS "$U/api/tickets?q=$N"; echo
