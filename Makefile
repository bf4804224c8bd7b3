# SPDX-License-Identifier: Apache-2.0
# Turnstile: `make up` runs it, `make test` tests it, `make help` tells the rest.

VERSION := 0.1.0

# ---- what is built: explicit lists ---------------------------------------------------------------------------

base_SOURCES := buffer.c clock.c config.c encoding.c error.c failpoint.c hashmap.c id.c log.c memory.c metrics.c moment.c queue.c text.c text_fold.c
schema_SOURCES := check.c document.c email.c errors.c json_schema.c money.c print.c table.c
http_SOURCES := check.c conditional.c connection.c cookies.c headers.c metrics.c proxies.c receive.c request.c respond.c router.c server.c url.c worker.c
auth_SOURCES := cache.c cookie.c metrics.c password.c token.c
store_SOURCES := collection.c cursor.c metrics.c page.c plan.c store.c value.c mongo/document.c mongo/driver.c mongo/fact.c mongo/lease.c mongo/migrate.c mongo/outbox.c mongo/read.c mongo/uri.c mongo/write.c sqlite/committer.c sqlite/connection.c sqlite/driver.c sqlite/fact.c sqlite/lock.c sqlite/migrate.c sqlite/outbox.c sqlite/pool.c sqlite/read.c sqlite/remove.c sqlite/rows.c sqlite/transaction.c
bus_SOURCES := bus.c handle.c link.c metrics.c names.c position.c publish.c queue.c receive.c signal.c supervisor.c uri.c nats/failure.c nats/options.c nats/probe.c nats/signal.c stan/connect.c stan/driver.c stan/position.c stan/publish.c stan/subscribe.c jetstream/ahead.c jetstream/connect.c jetstream/consumer.c jetstream/driver.c jetstream/json.c jetstream/lock.c jetstream/publish.c jetstream/receive.c jetstream/request.c jetstream/stream.c
events_SOURCES := answering.c apply.c arrival.c asking.c audit.c backlog.c catalogue.c dead_letter.c entities.c \
  epoch.c events.c held.c history.c inbox.c letter.c listener.c message.c metrics.c owner.c refresh.c relay.c relay_metrics.c \
  republish.c shard.c signals.c snapshot.c thread.c upkeep.c verdict.c wish.c
service_SOURCES := health.c healthcheck.c metrics.c operations.c process.c resource.c service.c settings.c signals.c
MODULES := base schema http auth store bus events service

SERVICES := auth tickets orders
service_auth_SOURCES := limiter.c main.c routes.c user.c
service_tickets_SOURCES := listeners.c main.c routes.c ticket.c
service_orders_SOURCES := listeners.c main.c order.c routes.c

TOOLS := eventctl
tool_eventctl_SOURCES := asyncapi.c channel.c command.c connection.c dead.c dead_discard.c dead_letters.c dead_list.c dead_print.c dead_replay.c dead_selection.c indent.c input.c listen.c listen_options.c main.c options.c output.c publish.c schema.c signals.c subject.c

# Each is a program of its own: tests/unit/<name>.c, tests/contract/<name>.c. What one needs besides the library and
# what all have, it names: <name>_WITH := services/orders/order.c
UNIT_TESTS := bus_finding bus_json bus_link base_buffer base_clock base_config base_encoding base_failpoint base_hashmap base_id base_log base_metrics base_queue base_text auth_cache auth_cookie auth_limiter auth_password auth_token auth_user schema_fields schema_fuzz schema_money schema_parse schema_print schema_table order_rules ticket_rules http_conditional http_cookies http_proxies http_router http_url events_verdict events_message events_metrics events_dead_letter events_backlog events_history events_republish events_relay events_asking events_shard events_listener events_gaps events_property eventctl_indent eventctl_options events_signals last_words paging service_resource
bus_finding_WITH := tests/unit/bus_fake.c
bus_link_WITH := tests/unit/bus_fake.c
order_rules_WITH := services/orders/order.c
events_gaps_WITH := tests/unit/events_fake.c
events_listener_WITH := tests/unit/events_fake.c
events_property_WITH := tests/unit/events_fake.c
events_shard_WITH := tests/unit/events_fake.c
ticket_rules_WITH := services/tickets/ticket.c
auth_limiter_WITH := services/auth/limiter.c
auth_user_WITH := services/auth/user.c
eventctl_indent_WITH := tools/eventctl/indent.c
eventctl_options_WITH := tools/eventctl/connection.c tools/eventctl/listen_options.c tools/eventctl/options.c tools/eventctl/signals.c
CONTRACT_TESTS := bus bus_closing bus_cluster bus_jetstream bus_outage bus_position bus_stan store store_facts store_list store_mongo store_owner store_processes store_removal store_sqlite http_limits http_server http_stop events events_owner
events_WITH := tests/contract/events_fixture.c tests/contract/bus_server.c
events_owner_WITH := $(events_WITH)
http_limits_WITH := tests/contract/http_fixture.c
http_server_WITH := tests/contract/http_fixture.c
http_stop_WITH := tests/contract/http_fixture.c
store_WITH := tests/contract/store_fixture.c tests/contract/mongo_server.c
store_facts_WITH := $(store_WITH)
store_list_WITH := $(store_WITH)
store_owner_WITH := $(store_WITH)
store_processes_WITH := $(store_WITH)
store_removal_WITH := $(store_WITH)
store_mongo_WITH := $(store_WITH) tests/contract/mongo_proxy.c
store_sqlite_WITH := $(store_WITH)
bus_WITH := tests/contract/bus_fixture.c tests/contract/bus_server.c
bus_outage_WITH := $(bus_WITH)
bus_position_WITH := $(bus_WITH)
bus_stan_WITH := $(bus_WITH)
bus_closing_WITH := $(bus_WITH)
bus_cluster_WITH := $(bus_WITH)
bus_jetstream_WITH := $(bus_WITH) tests/contract/jetstream_fixture.c

# Those that run once on each engine say which environment variables choose it, several joined by commas:
# <name>_ENGINES := TEST_STORE=sqlite,TEST_BUS=stan
STORE_ENGINES := TEST_STORE=sqlite TEST_STORE=mongo
store_ENGINES := $(STORE_ENGINES)
BUS_ENGINES := TEST_BUS=stan TEST_BUS=jetstream
bus_ENGINES := $(BUS_ENGINES)
bus_outage_ENGINES := $(BUS_ENGINES)
bus_position_ENGINES := $(BUS_ENGINES)
events_ENGINES := $(BUS_ENGINES)
events_owner_ENGINES := $(BUS_ENGINES)
store_facts_ENGINES := $(STORE_ENGINES)
store_list_ENGINES := $(STORE_ENGINES)
store_owner_ENGINES := $(STORE_ENGINES)
store_processes_ENGINES := $(STORE_ENGINES)
store_removal_ENGINES := $(STORE_ENGINES)

PACKAGES := libmicrohttpd jansson libjwt sqlite3 libmongoc-1.0 libsodium libcrypto
# Debian's libnats has no streaming types in its .pc file: the define is ours to give.
LIBRARIES := -lnats -lpthread

# ---- how it is built -----------------------------------------------------------------------------------------
# build/release is what users run. Tests run the same code with failpoints: build/test, and with SAN= build/address,
# build/thread, build/undefined.

SAN ?=
V ?=
ONLY ?=
ifneq ($(filter-out address thread undefined,$(SAN)),)
$(error SAN is one of address, thread, undefined; not "$(SAN)")
endif
ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON ?= /usr/bin/python3
DOCKER ?= docker
VARIANT ?= $(or $(SAN),release)
TEST_VARIANT := $(or $(SAN),test)
BUILD ?= build/$(VARIANT)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Wformat=2 \
  -Wpointer-arith -Wwrite-strings -Wundef -Werror=incompatible-pointer-types -Werror=implicit-function-declaration \
  -Werror=int-conversion
ifdef WERROR
WARNINGS += -Werror
endif
DEFINES := -I. -D_GNU_SOURCE -DNATS_HAS_STREAMING -DTURNSTILE_VERSION='"$(VERSION)"'
OPTIMIZE := -O2
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection
LINK_HARDENING := -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed
ifneq ($(VARIANT),release)
DEFINES += -DTURNSTILE_FAILPOINTS
endif
ifeq ($(SAN),address)
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPTIMIZE := -O1
else ifeq ($(SAN),thread)
SANITIZE := -fsanitize=thread -fno-omit-frame-pointer
OPTIMIZE := -O1
else ifeq ($(SAN),undefined)
SANITIZE := -fsanitize=undefined -fno-sanitize-recover=undefined
OPTIMIZE := -O1
else
DEFINES += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif

# CPPFLAGS, CFLAGS and LDFLAGS are the user's, and come last so that they win. Libraries' headers are the system's: they
# are not warned about.
COMPILE_FLAGS := -std=c17 -g $(OPTIMIZE) $(DEFINES) $(WARNINGS) $(HARDENING) $(SANITIZE) \
  $(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)) $(CPPFLAGS) $(CFLAGS)
LINK_FLAGS := -g $(OPTIMIZE) $(HARDENING) $(SANITIZE) $(LINK_HARDENING) $(CFLAGS) $(LDFLAGS)
LINK_LIBRARIES := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) $(LIBRARIES)

export ASAN_OPTIONS ?= halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS ?= halt_on_error=1:abort_on_error=1:print_stacktrace=1
export TSAN_OPTIONS ?= halt_on_error=1:abort_on_error=1:second_deadlock_stack=1:suppressions=$(CURDIR)/tests/tsan-suppressions

ifeq ($(V),)
Q := @
say = @printf '  %-6s %s\n' "$(1)" "$(2)"
endif

MAKEFLAGS += --no-print-directory --no-builtin-rules
# As many jobs as there are cores, unless -j said otherwise. Only recipes can see what -j said.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
.SUFFIXES:
.DELETE_ON_ERROR:

# ---- what people say -----------------------------------------------------------------------------------------
# Each of these installs first and then runs make again: what pkg-config knows may just have been installed.

.PHONY: build deps up down secrets compose-up compose-down test test-compose test-cluster chaos bench lint format clean help
build: deps ## build the services and tools (build/release)
	@$(MAKE) $(JOBS) programs

deps: ## install what is missing: Debian packages; NATS Streaming and kustomize into .deps/
	@infra/local/deps.sh $(if $(filter debian,$(STANDINS)),stand-ins)

up: build ## run everything on this machine until Ctrl-C; DETACH=1 returns when ready
	@exec env TURNSTILE_BUILD=$(BUILD) $(PYTHON) -B infra/local/run.py up

down: ## stop what `make up DETACH=1` started
	@exec $(PYTHON) -B infra/local/run.py down

secrets: ## make the secrets of docker-compose.yml: .secrets/
	@infra/compose/secrets.sh $(SERVICES)

compose-up: secrets $(if $(filter debian,$(STANDINS)),deps) ## run everything in containers, in the background, until `make compose-down`
	@infra/compose/compose.sh up

compose-down: ## stop and remove the containers; their data is kept
	@infra/compose/compose.sh down

test: deps ## run the unit, contract and integration tests
	@$(if $(ONLY),$(RUN_TESTS) --check $(UNIT_PROGRAMS) $(CONTRACT_RUNS))
	@$(MAKE) $(JOBS) VARIANT=$(TEST_VARIANT) run-tests

chaos: build ## everything goes wrong at once, for SECONDS=600 on each pair of engines, and nothing may be lost
	@exec $(PYTHON) -B tests/chaos/chaos.py --build $(abspath $(BUILD)) $(if $(SECONDS),--seconds '$(SECONDS)') \
	  $(if $(SEED),--seed '$(SEED)') $(if $(STORE),--store '$(STORE)') $(if $(BUS),--bus '$(BUS)') $(if $(V),--verbose)

test-cluster: build ## deploy to the cluster that kubectl points to, in a namespace of its own, and test it there
	@exec $(PYTHON) -B tests/deployed/cluster.py --build $(abspath $(BUILD)) --services '$(SERVICES)' \
	  $(if $(OVERLAY),--overlay '$(OVERLAY)') $(if $(REGISTRY),--registry '$(REGISTRY)') $(if $(SEED),--seed '$(SEED)') \
	  $(if $(INGRESS),--ingress '$(INGRESS)') $(if $(INGRESS_TLS),--ingress-tls '$(INGRESS_TLS)') \
	  $(if $(ONLY),--only '$(ONLY)')

test-compose: build ## start the system by Compose, on ports of its own, and test it there: kill its containers, too
	@exec $(PYTHON) -B tests/deployed/compose.py --build $(abspath $(BUILD)) $(if $(BUS),--bus '$(BUS)') \
	  $(if $(STANDINS),--stand-ins '$(STANDINS)') $(if $(ONLY),--only '$(ONLY)')

bench: build ## measure what a request costs (needs wrk)
	@$(MAKE) $(JOBS) $(BUILD)/tests/bench/store_insert
	@exec env TURNSTILE_BUILD=$(abspath $(BUILD)) $(PYTHON) -B tests/bench/bench.py

lint: build ## check formatting, layers, banned functions, headers, shell scripts, documentation, what deploys it
	@$(PYTHON) -B infra/lint/selftest.py
	@$(PYTHON) -B infra/lint/deployment_selftest.py
	@$(PYTHON) -B tests/docs/selftest.py
	@$(PYTHON) -B tests/docs/check.py
	@$(PYTHON) -B infra/lint/lint.py --build $(BUILD) --services "$(SERVICES)" --cc "$(CC)" --flags '$(subst ','\'',$(COMPILE_FLAGS))'
	@$(PYTHON) -B infra/lint/deployment.py --build $(BUILD) --services "$(SERVICES)"

format: ## format all C files as .clang-format says
	@find common services tools tests examples infra -name '*.[ch]' 2>/dev/null | xargs clang-format -i

.PHONY: images push push-nowhere
images: $(addprefix image-,$(SERVICES) $(TOOLS)) ## build container images, turnstile-<program>:TAG

push: $(if $(REGISTRY),$(addprefix push-,$(SERVICES) $(TOOLS)),push-nowhere) ## build container images and push them to REGISTRY=host/path
push-nowhere:
	@echo 'make: say where to push to: make push REGISTRY=host/path' >&2; exit 1

clean: ## remove build/ (not .deps/, nor what runs in run/)
	rm -rf build

help: ## this list
	@echo 'Turnstile $(VERSION). Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | sort | expand -t 16
	@printf '%s\n' 'Variables, given as `make up SCALE=2` or in the environment:' \
	  '  V=1                    show the commands' \
	  '  WERROR=1               warnings are errors' \
	  '  SAN=address|thread|undefined  build and test with a sanitizer (thread: no integration tests)' \
	  '  SECONDS=600 SEED=number STORE=sqlite|mongo BUS=stan|jetstream  chaos: how long; what goes wrong; on which engines' \
	  '  ONLY=word              test: only what has it in its name: unit, unit/schema_fields, integration/test_auth' \
	  '  DETACH=1               up: return when ready' \
	  '  SCALE=1                up, compose-up: instances of each service' \
	  '  BUS=stan|jetstream     up, compose-up: the broker' \
	  '  STANDINS=debian        compose-up, test-compose, deps: images that are built here, where no registry can be reached' \
	  '  BUS=stan|jetstream ONLY=word  test-compose: on this bus only; only tests that have it in their name' \
	  '  STORE=mongodb://host   up: a server for the stores, in place of files' \
	  '  RUN_DIR=run            up, down: where pid files, logs, stores and the key are kept' \
	  '  HTTP_PORT=8080 NATS_PORT=4222 NATS_MONITOR_PORT=8222  up, compose-up: the ports' \
	  '  REGISTRY=host/path TAG=$(VERSION)  images, push, compose-up: what the images are called' \
	  '  FRESH=1                images, push: with the base image and the packages of today' \
	  '  OVERLAY=local INGRESS=host:port INGRESS_TLS=host:port  test-cluster (with REGISTRY, SEED, ONLY): what it deploys, and where that answers' \
	  'Whatever else is set reaches the services: LOG_LEVEL=debug make up'

# ---- how files come about ------------------------------------------------------------------------------------

# A program whose list of sources is empty is not built.
with_sources = $(foreach name,$(1),$(if $($(2)_$(name)_SOURCES),$(name)))
COMMON_OBJECTS := $(foreach module,$(MODULES),$(addprefix $(BUILD)/common/$(module)/,$($(module)_SOURCES:.c=.o)))
COMMON_LIBRARY := $(BUILD)/libturnstile.a
PROGRAMS := $(addprefix $(BUILD)/,$(call with_sources,$(SERVICES),service) $(call with_sources,$(TOOLS),tool))
UNIT_PROGRAMS := $(addprefix $(BUILD)/tests/unit/,$(UNIT_TESTS))
CONTRACT_PROGRAMS := $(addprefix $(BUILD)/tests/contract/,$(CONTRACT_TESTS))
comma := ,
contract_runs = $(if $($(1)_ENGINES),$(addprefix $(BUILD)/tests/contract/$(1)$(comma),$($(1)_ENGINES)),$(BUILD)/tests/contract/$(1))
CONTRACT_RUNS := $(foreach name,$(CONTRACT_TESTS),$(call contract_runs,$(name)))

# Pairs of engines that chaos is tried on.
CHAOS_PAIRS := sqlite,stan sqlite,jetstream mongo,stan mongo,jetstream
# And the one that integration tests are run on besides their own; under a sanitizer that is left to chaos.
INTEGRATION_PAIRS := $(if $(SAN),,mongo$(comma)jetstream)
RUN_TESTS = $(PYTHON) -B tests/run.py --build $(BUILD) $(if $(SAN),--sanitizer $(SAN)) $(if $(ONLY),--only '$(ONLY)') \
  $(addprefix --chaos ,$(CHAOS_PAIRS)) $(addprefix --integration ,$(INTEGRATION_PAIRS)) \
  $(if $(V),--verbose)

.PHONY: programs unit-programs contract-programs run-tests FORCE
programs: $(PROGRAMS)
unit-programs: $(UNIT_PROGRAMS)
contract-programs: $(CONTRACT_PROGRAMS)
run-tests: $(PROGRAMS) $(UNIT_PROGRAMS) $(CONTRACT_PROGRAMS)
	@exec $(RUN_TESTS) $(UNIT_PROGRAMS) $(CONTRACT_RUNS)

# Two stamps that change when their text does: objects follow the flags they are compiled with, the library and the
# programs follow the flags and the lists of what is linked.
define stamp
$(1): export STAMP := $(2)
$(1): FORCE
	@mkdir -p $$(@D)
	@printenv STAMP | cmp -s - $$@ || printenv STAMP > $$@
endef
COMPILE_STAMP := $(BUILD)/compile-flags
LINK_STAMP := $(BUILD)/link-flags
$(eval $(call stamp,$(COMPILE_STAMP),$$(CC) $$(COMPILE_FLAGS)))
$(eval $(call stamp,$(LINK_STAMP),$$(CC) $$(LINK_FLAGS) $$(LINK_LIBRARIES) $$(COMMON_OBJECTS) $$(foreach list,$$(filter service_% tool_% %_WITH,$$(.VARIABLES)),$$($$(list)))))

$(BUILD)/%.o: %.c $(COMPILE_STAMP)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(COMPILE_FLAGS) -MMD -MP -c -o $@ $<

$(COMMON_LIBRARY): $(COMMON_OBJECTS) $(LINK_STAMP)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $(filter %.o,$^)

define link
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $(filter %.o,$^) $(COMMON_LIBRARY) $(1) $(LINK_LIBRARIES)
endef

define program
$(BUILD)/$(1): $(addprefix $(BUILD)/$(2)/,$($(3)_SOURCES:.c=.o)) $(COMMON_LIBRARY) $(LINK_STAMP)
	$$(call link)
endef
$(foreach name,$(SERVICES),$(eval $(call program,$(name),services/$(name),service_$(name))))
$(foreach name,$(TOOLS),$(eval $(call program,$(name),tools/$(name),tool_$(name))))

define test_program
$(BUILD)/tests/$(1): $(patsubst %.c,$(BUILD)/%.o,tests/$(1).c tests/last_words.c $($(notdir $(1))_WITH)) $(COMMON_LIBRARY) $(LINK_STAMP)
	$$(call link,-lcmocka)
endef
$(foreach name,$(UNIT_TESTS),$(eval $(call test_program,unit/$(name))))
$(foreach name,$(CONTRACT_TESTS),$(eval $(call test_program,contract/$(name))))

# Images are built by the engine, which knows what is up to date. Asked for quietly, it tells all when a build fails.
TAG ?= $(VERSION)
FRESH ?=
# The engine's own, called as its context is, wherever `docker buildx use` points: others keep what they build to themselves.
builder = $(or $(BUILDX_BUILDER),$(shell $(DOCKER) context inspect --format '{{.Name}}' 2>/dev/null))
image_name = $(if $(REGISTRY),$(REGISTRY:/=)/)turnstile-$(1):$(TAG)
define image
.PHONY: image-$(1) push-$(1)
image-$(1): $(if $(FRESH),image-packages)
	$$(call say,IMAGE,$$(call image_name,$(1)))
	$$(Q)BUILDX_BUILDER='$$(builder)' $$(DOCKER) build $(if $(V),,--quiet) --target $(3) \
	  --build-arg PROGRAM=$(2)/$(1) --build-arg VERSION=$(VERSION) --tag $$(call image_name,$(1)) . $(if $(V),,>/dev/null)

push-$(1): image-$(1)
	$$(call say,PUSH,$$(call image_name,$(1)))
	$$(Q)$$(DOCKER) push $(if $(V),,--quiet) $$(call image_name,$(1))
endef

.PHONY: image-packages
image-packages:
	$(call say,IMAGE,the packages of today)
	$(Q)BUILDX_BUILDER='$(builder)' $(DOCKER) build $(if $(V),,--quiet) --pull --no-cache --target packages . $(if $(V),,>/dev/null)

$(foreach name,$(SERVICES),$(eval $(call image,$(name),services,service)))
$(foreach name,$(TOOLS),$(eval $(call image,$(name),tools,tool)))

.PRECIOUS: $(BUILD)/tests/bench/%.o
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(COMMON_LIBRARY) $(LINK_STAMP)
	$(call link)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
