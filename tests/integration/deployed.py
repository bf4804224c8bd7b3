# SPDX-License-Identifier: Apache-2.0
"""A system that is deployed already, in containers behind an ingress, for the tests that have the marker `deployed`.

TEST_DEPLOYMENT=<file> chooses it: then the fixture `system` is a DeployedSystem, and only tests with the marker are run.
Whoever deploys it (tests/deployed/compose.py, tests/deployed/cluster.py) writes the file, in JSON:

    {
      "ingress": {"address": "127.0.0.1", "port": 8080, "host": "ticketing.dev"},
      "bus": {"uri": "stan://127.0.0.1:4222/ticketing", "monitor": "http://127.0.0.1:8222"},
      "stores": {"auth": "mongodb://127.0.0.1:27017/auth", "tickets": "…", "orders": "…"},
      "jwt_key": "…",
      "features": ["nginx", "freeze"],
      "operator": {"class": "compose_operator.ComposeOperator", "settings": {"project": "turnstile-test-1a2b"}}
    }

- ingress: where clients of the system speak to. `host` is sent as their Host header; it may be left out.
- bus: as this machine reaches it, for eventctl and for looking at its monitoring pages. These ports, like those of the
  stores, stay the same for as long as the tests run, whatever is killed; while the bus is away connections to them fail.
- stores: as this machine reaches them, with a user that may read and write.
- jwt_key: what the services verify tokens with; tests make tokens of their own.
- features: what only some deployments have. A test that needs one says so, @pytest.mark.deployed("nginx"), and is not
  run on others. "nginx": the ingress is this project's own nginx. "freeze": its operator can freeze and thaw. "stays":
  what the operator kills stays away until it is started.
- operator: the class, in a module in tests/deployed, that acts on the containers, and the keyword arguments that it is
  made with. What it has to do is said in tests/deployed/operators.py.

The stores and the bus are shared by all tests, and not empty. So a test that has the marker makes users of its own
(Market.user), looks at its own records only, and publishes nothing in the name of a service that this service's records
contradict, or sets it right at its end. A service has as many instances as were deployed, behind one address: which of
them gets a request nobody knows. The handles that a test has of one service share its containers between them, so that who
has one handle kills all instances by it, and who has two, half of them each.
"""
