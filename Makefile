# SPDX-License-Identifier: Apache-2.0
# Turnstile: `make up` runs it, `make test` tests it, `make help` tells the rest.

VERSION := 0.1.0

# ---- what is built: explicit lists ---------------------------------------------------------------------------

base_SOURCES := buffer.c clock.c config.c encoding.c error.c failpoint.c hashmap.c id.c log.c memory.c queue.c text.c
schema_SOURCES := choice.c document.c errors.c json_schema.c money.c print.c table.c
http_SOURCES :=
auth_SOURCES :=
store_SOURCES :=
bus_SOURCES :=
events_SOURCES :=
service_SOURCES :=
MODULES := base schema http auth store bus events service

SERVICES := auth tickets orders
service_auth_SOURCES :=
service_tickets_SOURCES :=
service_orders_SOURCES :=

TOOLS := eventctl
tool_eventctl_SOURCES :=

# Each is a program of its own: tests/unit/<name>.c, tests/contract/<name>.c
UNIT_TESTS :=
CONTRACT_TESTS :=

PACKAGES := libmicrohttpd jansson libjwt sqlite3 libsodium libcrypto
# Debian's libnats has no streaming types in its .pc file: the define is ours to give.
LIBRARIES := -lnats -lpthread

# ---- how it is built -----------------------------------------------------------------------------------------
# build/release is what users run. Tests run the same code with failpoints: build/test, and with SAN= build/address,
# build/thread, build/undefined.

SAN ?=
V ?=
ifeq ($(origin CC),default)
CC := gcc
endif
VARIANT ?= $(or $(SAN),release)
BUILD ?= build/$(VARIANT)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Wformat=2 \
  -Wpointer-arith -Wwrite-strings -Wundef -Werror=incompatible-pointer-types -Werror=implicit-function-declaration \
  -Werror=int-conversion
ifdef WERROR
WARNINGS += -Werror
endif
CPPFLAGS += -I. -D_GNU_SOURCE -DNATS_HAS_STREAMING -DTURNSTILE_VERSION='"$(VERSION)"' -MMD -MP
CFLAGS_ALL = -std=c17 -g $(OPTIMIZE) $(WARNINGS) $(HARDENING) $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null) $(CFLAGS)
LDFLAGS_ALL = $(LINK_HARDENING) $(LDFLAGS)
LDLIBS_ALL = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) $(LIBRARIES)

HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection
LINK_HARDENING := -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed
OPTIMIZE := -O2
ifneq ($(VARIANT),release)
CPPFLAGS += -DTURNSTILE_FAILPOINTS
endif
ifeq ($(SAN),address)
HARDENING += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPTIMIZE := -O1
else ifeq ($(SAN),thread)
HARDENING += -fsanitize=thread -fno-omit-frame-pointer
OPTIMIZE := -O1
else ifeq ($(SAN),undefined)
HARDENING += -fsanitize=undefined -fno-sanitize-recover=undefined
OPTIMIZE := -O1
else
CPPFLAGS += -D_FORTIFY_SOURCE=2
endif

ifndef V
Q := @
say = @printf '  %-6s %s\n' "$(1)" "$(2)"
endif

COMMON_OBJECTS := $(foreach module,$(MODULES),$(addprefix $(BUILD)/common/$(module)/,$($(module)_SOURCES:.c=.o)))
COMMON_LIBRARY := $(BUILD)/libturnstile.a
PROGRAMS := $(addprefix $(BUILD)/,$(SERVICES) $(TOOLS))
UNIT_PROGRAMS := $(addprefix $(BUILD)/tests/unit/,$(UNIT_TESTS))
CONTRACT_PROGRAMS := $(addprefix $(BUILD)/tests/contract/,$(CONTRACT_TESTS))

.PHONY: all build
all: build
build: $(PROGRAMS)

$(BUILD)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -c -o $@ $<

$(COMMON_LIBRARY): $(COMMON_OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

define program
$(BUILD)/$(1): $(addprefix $(BUILD)/$(2)/,$($(3)_SOURCES:.c=.o)) $(COMMON_LIBRARY)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(CFLAGS_ALL) $$(LDFLAGS_ALL) -o $$@ $$^ $$(LDLIBS_ALL)
endef
$(foreach name,$(SERVICES),$(eval $(call program,$(name),services/$(name),service_$(name))))
$(foreach name,$(TOOLS),$(eval $(call program,$(name),tools/$(name),tool_$(name))))

# A test links the library, cmocka, and what it names in <name>_WITH (objects of a service's rules).
$(UNIT_PROGRAMS) $(CONTRACT_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(COMMON_LIBRARY)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_ALL) -lcmocka

.PHONY: unit-programs contract-programs
unit-programs: $(UNIT_PROGRAMS)
contract-programs: $(CONTRACT_PROGRAMS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
