# SPDX-License-Identifier: Apache-2.0
"""The local runner: one supervisor for the broker, the services and nginx."""
