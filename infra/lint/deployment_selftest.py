#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that each check of deployment.py accepts what is right and refuses what is wrong, on samples, and that these come
out of kustomize and compose as the checks expect them."""

import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import yaml

import compositions
import manifests
import references
from checks import Tree
from composition_samples import COMPOSE_FILE, COMPOSITION, COMPOSITION_SAMPLES, CUSTOM, FILE_SAMPLES, KUSTOMIZATIONS, \
    SHELL, Files
from deployment import FILE_CHECKS, all_problems, composition_problems, instructions, overlay_problems
from manifest_samples import FACTS, MANIFEST_SAMPLES, OVERLAY
from rendered import COMPOSE, LOADER, Composition, Mount, Overlay, Port, RenderError, Rendered, compose, dig, \
    kustomize, mounts_of, overlays_to_build, ports_of, read_facts, read_keys, read_manifests, render, words_of
from rules import parse_arguments

ROOT = Path(__file__).resolve().parents[2]


class SelfTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def tree(self, files: Files) -> Tree:
        root = Path(tempfile.mkdtemp(dir=self.root))
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        return Tree(root, services=list(FACTS.keys))

    def changed(self, text: str, old: str, new: str) -> str:
        """The first that is found is changed; a text without the old is a sample that shows nothing."""
        if not old:
            return text + new
        self.assertIn(old, text)
        return text.replace(old, new, 1)

    def rendered(self, overlay: str = OVERLAY, composition: str = COMPOSITION) -> Rendered:
        return Rendered(FACTS, [Overlay("test", read_manifests(overlay))],
                        [Composition((COMPOSE,), yaml.load(composition, LOADER))], [])

    def test_every_check_has_samples(self) -> None:
        self.assertEqual(set(manifests.CHECKS | references.CHECKS), set(MANIFEST_SAMPLES))
        self.assertEqual(set(compositions.CHECKS), set(COMPOSITION_SAMPLES))
        self.assertEqual(set(FILE_CHECKS), set(FILE_SAMPLES))

    def test_each_check_of_manifests(self) -> None:
        for name, check in (manifests.CHECKS | references.CHECKS).items():
            with self.subTest(name):
                self.assertEqual(overlay_problems(self.rendered(), check), [])
            for old, new, words in MANIFEST_SAMPLES[name]:
                with self.subTest(name, new=new):
                    problems = overlay_problems(self.rendered(self.changed(OVERLAY, old, new)), check)
                    self.assertIn(words, "\n".join(problems))
                    self.assertTrue(problems)

    def test_each_check_of_compositions(self) -> None:
        for name, check in compositions.CHECKS.items():
            with self.subTest(name):
                self.assertEqual(composition_problems(self.rendered(), check), [])
            for old, new, words in COMPOSITION_SAMPLES[name]:
                with self.subTest(name, new=new):
                    changed = self.rendered(composition=self.changed(COMPOSITION, old, new))
                    self.assertIn(words, "\n".join(composition_problems(changed, check)))

    def test_each_check_of_files(self) -> None:
        for name, (good, bad) in FILE_SAMPLES.items():
            with self.subTest(name):
                self.assertEqual(list(FILE_CHECKS[name](self.tree(good), self.rendered())), [])
            for change, words in bad:
                with self.subTest(name, change=change):
                    self.assertIn(words, "\n".join(FILE_CHECKS[name](self.tree(good | change), self.rendered())))

    def test_every_overlay_is_built_and_every_component_on_one(self) -> None:
        tree = self.tree(KUSTOMIZATIONS)
        built = {name: kustomize(tree, name, *rest) for name, *rest in overlays_to_build(tree)}
        self.assertEqual(list(built), ["local", "other", "local with free"])
        self.assertEqual(list(map(str, built["other"].manifests)), ["infra/k8s/base/map.yaml: ConfigMap a"])
        self.assertEqual([manifest.name for manifest in built["local with free"].manifests], ["my-a"])

    def test_compose_is_asked_and_nothing_of_the_user_is_in_its_answer(self) -> None:
        tree = self.tree({COMPOSE: COMPOSE_FILE, "docker-compose.more.yml": "services: {tickets: {read_only: true}}\n",
                          ".env": "TAG=mine\n"})
        with unittest.mock.patch.dict("os.environ", {"HTTP_PORT": "1", "COMPOSE_FILE": "none"}):
            service = compose(tree, (COMPOSE, "docker-compose.more.yml")).services["tickets"]
        self.assertEqual((service["image"], service["read_only"]), ("turnstile-tickets:1.2.3", True))
        self.assertEqual([(port.address, port.published) for port in ports_of(service)],
                         [("127.0.0.1", "8080"), ("", "")])
        self.assertEqual(mounts_of(service), [Mount("volume", "data", "/data"),
                                              Mount("bind", str(tree.root / "folder"), "/folder")])
        self.assertEqual(words_of(service["command"]), ["a", "b c"])

    def test_both_ways_to_tell_ports_and_volumes_are_understood(self) -> None:
        service = {"ports": [{"target": 80, "published": "8080", "host_ip": "127.0.0.1"}, {"target": 90}],
                   "volumes": [{"type": "volume", "source": "data", "target": "/data"}]}
        self.assertEqual(ports_of(service), [Port("127.0.0.1", "8080", 80), Port("", "", 90)])
        self.assertEqual(ports_of({"ports": ["[::1]:8080:80/tcp", "8080:80"]}),
                         [Port("[::1]", "8080", 80), Port("", "8080", 80)])
        self.assertEqual(mounts_of(service), [Mount("volume", "data", "/data")])

    def test_what_cannot_be_rendered_is_a_problem(self) -> None:
        tree = self.tree(KUSTOMIZATIONS | {"infra/k8s/base/kustomization.yaml": "resources: [lost.yaml]\n"})
        with self.assertRaisesRegex(RenderError, "infra/k8s/overlays/local: kustomize cannot build it: .*lost.yaml"):
            kustomize(tree, "local", Path("infra/k8s/overlays/local"), [])
        with self.assertRaisesRegex(RenderError, "docker-compose.yml: is missing"):
            compose(tree, (COMPOSE,))
        with self.assertRaisesRegex(RenderError, "docker-compose.yml: compose cannot read it"):
            compose(self.tree({COMPOSE: "services: {a: {images: b}}\n"}), (COMPOSE,))

    def test_all_problems_of_rendering_are_gathered(self) -> None:
        tree = self.tree(KUSTOMIZATIONS | {"infra/k8s/overlays/other/kustomization.yaml": "resources: [lost.yaml]\n"})
        with unittest.mock.patch("rendered.read_facts", side_effect=RenderError("no facts")):
            rendered = render(tree)
        self.assertEqual(rendered.problems[0], "no facts")
        self.assertEqual(len([problem for problem in rendered.problems if "lost.yaml" in problem]), 1)
        self.assertEqual([overlay.name for overlay in rendered.overlays],
                         ["local", "local with free", "local with taken"])
        self.assertEqual(rendered.compositions, [])
        with unittest.mock.patch("rendered.read_facts", return_value=FACTS):
            self.assertIn("infra/k8s/overlays: there is no overlay", render(self.tree({})).problems)

    def test_a_tree_without_anything_has_problems(self) -> None:
        tree = self.tree({})
        found = dict(all_problems(tree, Rendered(FACTS, [], [], ["broken"])))
        self.assertEqual(found["rendering"], ["broken"])
        self.assertIn("Dockerfile: is missing", found["Dockerfiles"])
        self.assertIn("skaffold.yaml: is missing", found["skaffold"])

    def test_the_services_are_asked_for_their_variables(self) -> None:
        self.assertEqual(read_keys(self.tree({"build/release/tickets": SHELL + "echo PORT\n"})), {"tickets": ["PORT"]})
        for program in (SHELL, SHELL + "echo usage: tickets\n", SHELL + "echo PORT; exit 78\n"):
            with self.assertRaisesRegex(RenderError, "does not print the names"):
                read_keys(self.tree({"build/release/tickets": program}))
        with self.assertRaisesRegex(RenderError, "build/release/tickets: No such file"):
            read_keys(self.tree({}))

    def test_the_local_runner_is_asked_for_the_broker_and_the_paths(self) -> None:
        facts = read_facts(Tree(ROOT))
        self.assertEqual(parse_arguments(facts.broker)["-cid"], "ticketing")
        self.assertEqual(facts.jetstream["ping_max"], "2")
        self.assertEqual(facts.prefixes["tickets"], ("/api/tickets",))
        self.assertRegex(facts.version, r"^\d+\.\d+\.\d+$")

    def test_options_are_told_from_their_values(self) -> None:
        self.assertEqual(parse_arguments(["program", "-a", "1", "--b=2", "-c", "-d=", "3"]),
                         {"-a": "1", "-b": "2", "-c": "", "-d": "3"})
        self.assertEqual(dig({"a": [{"b": 1}]}, "a", 0, "b"), 1)
        self.assertEqual(dig({"a": None}, "a", "b", default=2), 2)

    def test_skaffold_may_build_by_a_command(self) -> None:
        self.assertIn("custom:", CUSTOM)
        good = FILE_SAMPLES["skaffold"][0] | {"skaffold.yaml": CUSTOM}
        self.assertEqual(list(FILE_CHECKS["skaffold"](self.tree(good), self.rendered())), [])

    def test_instructions_have_the_line_on_which_they_begin(self) -> None:
        self.assertEqual(list(instructions("FROM a\n\n# b\nrun c \\\n  # d\n  e\nUSER 1\n")),
                         [(1, "FROM", "a"), (4, "RUN", "c e"), (7, "USER", "1")])


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=0, stream=sys.stderr).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(SelfTest))
    sys.exit(0 if result.wasSuccessful() else 1)
