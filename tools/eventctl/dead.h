/* SPDX-License-Identifier: Apache-2.0
 * The commands of eventctl dead. */
#ifndef TURNSTILE_TOOLS_EVENTCTL_DEAD_H
#define TURNSTILE_TOOLS_EVENTCTL_DEAD_H

/* The arguments begin with the command's own name. */
int dead_list(int argc, char **argv);
int dead_show(int argc, char **argv);
int dead_discard(int argc, char **argv);
int dead_replay(int argc, char **argv);

#endif
