"""`rootstock check` knows every field of the policy language: what it lists as without effect, and what it refuses."""
import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml  # an independent reader
except ImportError:
    yaml = None

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, PROGRAM, ROOT  # noqa: E402

SHARED = pathlib.Path(os.environ.get("ROOTSTOCK_SHARED") or ROOT.parent / "shared") / "conformance/semantic-router"
REFERENCE = SHARED / "reference-config.yaml"
UNKNOWN = "zz_nobody_knows"

# What may be listed as ignored: ports, stores, traces and dashboards of other people's containers, files and settings
# of other people's models. No line may say what is routed where.
PLUMBING = re.compile("|".join((
    r"listeners",
    r"global\.router\.(config_source|clear_route_cache|streamed_body)",
    r"global\.services\.(management_api|startup_status|api\.batch_classification)",
    r"global\.services\.observability\.(tracing|metrics)",
    r"global\.services\.router_replay\.(store_backend|ttl_seconds|async_writes|redis|postgres|milvus|qdrant)",
    r"global\.integrations\.looper\.(endpoint|timeout_seconds|retry_count|headers|\w+_mb)",
    r"global\.router\.learning\.state_store\.(timeout_ms|redis)",
    r"global\.model_catalog\.system",
    r"global\.model_catalog\.embeddings\.semantic\.(\w+_model_path|use_cpu)",
    r"global\.model_catalog\.embeddings\.semantic\.embedding_config\.(backend|model_type|preload_embeddings|target_\w+)",
    r"global\.model_catalog\.modules\.[\w.]+\.(model_ref|model_id|use_\w+|variant|\w+_mapping_path|positive_labels)",
    r"global\.model_catalog\.modules\.(prompt_compression|modality_detector\.classifier)",
    r"global\.model_catalog\.modules\.classifier\.preference\.embedding_model",
    # of algorithms: numbers of training and of their files, which change no choice here
    r"global\.router\.model_selection\.(router_dc|automix|hybrid|momentum|ml\.[\w.]+)",
    r"(recipes\[\]\.)?routing\.decisions\[\]\.algorithm\.router_dc\.(temperature|dimension_size|use_\w+)",
    r"(recipes\[\]\.)?routing\.decisions\[\]\.algorithm\.automix\.use_logprob_verification",
)))

# Maps whose keys are the author's own, and configurations of plugins that are not served yet.
FREE = re.compile("|".join((
    r"providers\.models\[\]\.(external_model_ids|backend_refs\[\]\.extra_headers)",
    r"routing\.decisions\[\]\.(annotations|plugins\[\]\.configuration.*)",
    r"global\.router\.model_selection.*",
    r"global\.router\.learning\.state_store\.redis",
    r"global\.services\.(authz\.providers\[\]\.headers|management_api\.auth\.roles)",
    r"global\.integrations\.looper\.headers",
    r"global\.stores\.\w+\.milvus\..*",
    r"global\.model_catalog\.modules\.classifier\.mcp\.env",
    r"global\.model_catalog\.kbs\[\]\.(label_thresholds|groups)",
)))


def check(path):
    """(exit status, problems) of `rootstock check`."""
    process = subprocess.run([str(PROGRAM), "check", "--json", "-c", str(path)], capture_output=True, text=True,
                             check=False, timeout=60 * PATIENCE)
    return process.returncode, json.loads(process.stdout)


def general(path):
    """A path without numbers."""
    return re.sub(r"\[\d+\]", "[]", path)


def maps(document):
    """One place for each kind of map: its general path → the keys that lead to it."""
    found = {}

    def walk(value, path, keys):
        if isinstance(value, dict):
            found.setdefault(path, keys)
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else str(key), keys + [key])
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                walk(inner, f"{path}[]", keys + [i])

    walk(document, "", [])
    return found


@unittest.skipUnless(REFERENCE.exists(), f"{REFERENCE} is not here")
class Fields(unittest.TestCase):
    def test_third_party_policies_load_and_only_plumbing_is_ignored(self):
        for path in [REFERENCE, *sorted(SHARED.glob("recipes/**/config.yaml"))]:
            with self.subTest(path=path.name if path == REFERENCE else path.parent.name):
                status, problems = check(path)
                self.assertEqual([p for p in problems if p["kind"] == "error"], [])
                self.assertEqual(status, 0)
                ignored = {general(p["path"]) for p in problems if p["kind"] == "ignored"}
                self.assertEqual({p for p in ignored if not PLUMBING.fullmatch(p)}, set())

    @unittest.skipUnless(yaml, "python3-yaml is not installed")
    def test_a_key_that_nobody_knows_is_refused_everywhere(self):
        document = yaml.safe_load(REFERENCE.read_text(encoding="utf-8"))
        places = {path: keys for path, keys in maps(document).items() if not FREE.fullmatch(path)}
        self.assertGreater(len(places), 150)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "policy.yaml"
            for path, keys in places.items():
                with self.subTest(path=path):
                    changed = copy.deepcopy(document)
                    at = changed
                    for key in keys:
                        at = at[key]
                    at[UNKNOWN] = 1
                    file.write_text(json.dumps(changed), encoding="utf-8")  # which is YAML
                    status, problems = check(file)
                    self.assertEqual(status, 1)
                    self.assertTrue(any(UNKNOWN in p["path"] + p["text"] for p in problems if p["kind"] == "error"))


if __name__ == "__main__":
    tap.main()
