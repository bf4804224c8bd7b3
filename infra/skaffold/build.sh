#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds an image for skaffold, by the builder of the engine itself: another one, such as buildx makes in a container, would
# leave the image where no cluster finds it.
set -euo pipefail

# The default context's builder has its name; the classic builder takes no notice.
export BUILDX_BUILDER=${BUILDX_BUILDER:-$(docker context inspect --format '{{.Name}}')}
exec docker build "$@" .
