"""Policies with probes, as the vLLM Semantic Router's own tools read them: requests of probes, what must come back.

Nothing here knows our program: a request goes to whoever answers POST /api/v1/eval.
"""
import copy
import json
import pathlib
import urllib.error
import urllib.request

import yaml

LEXICAL = frozenset({"keyword", "context", "structure", "conversation", "event", "metadata", "authz", "language"})
FAMILY_KEYS = {"keywords": "keyword", "embeddings": "embedding", "domains": "domain", "preferences": "preference",
               "user_feedbacks": "user_feedback", "reasks": "reask", "events": "event", "classifiers": "classifier",
               "projections": "projection", "role_bindings": "authz"}
# What an honest answer may say before anything is executed; algorithms that are not named here may say anything.
STATUSES = {"static": {"selected", "execution_required"}, "multi_factor": {"selected", "execution_required"},
            "latency_aware": {"selected", "execution_required"}, "confidence": {"execution_required"},
            "workflows": {"planned_final", "execution_required"}, "fusion": {"planned_final", "execution_required"},
            "remom": {"planned_final", "execution_required"}}
ALL_STATUSES = {"selected", "planned_final", "fallback", "execution_required", "unavailable", "failed"}
TAG_LANGUAGES = {"de", "en", "es", "fr", "ja", "zh"}


def load_yaml(path):
    """A YAML file as plain data."""
    with open(path, encoding="utf-8") as f:
        return yaml.load(f, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def family(key):
    """One name for a family: that of a rule's leaf."""
    return FAMILY_KEYS.get(key, key)


# ---- what a decision depends on ----

class Profile:
    """One routing profile of a configuration: which families of signals its decisions hang on."""

    def __init__(self, name, routing):
        self.name = name
        self.decisions = routing.get("decisions") or []
        self.by_confidence = routing.get("strategy") == "confidence"
        projections = routing.get("projections") or {}
        self.scores = {s["name"]: s for s in projections.get("scores") or []}
        self.sources = {o["name"]: m["source"] for m in projections.get("mappings") or []
                        for o in m.get("outputs") or []}
        signals = routing.get("signals") or {}
        self.composers = {rule["name"]: rule["composer"] for rule in signals.get("complexity") or []
                          if rule.get("composer")}

    def _leaf(self, leaf, seen):
        kind, name = leaf.get("type"), str(leaf.get("name", ""))
        if kind == "projection":
            return self._score(self.sources.get(name, name), seen)
        found = {kind}
        if kind == "complexity" and name.split(":")[0] in self.composers:
            found |= self._rules(self.composers[name.split(":")[0]], seen)
        return found

    def _score(self, name, seen):
        if name in seen or name not in self.scores:
            return set() if name in seen else {"projection"}
        found = set()
        for part in self.scores[name].get("inputs") or []:
            kind = part.get("type")
            if kind == "projection":
                found |= self._score(self.sources.get(part.get("name"), part.get("name")), seen | {name})
            else:
                found |= {"kb"} if kind == "kb_metric" else self._leaf(part, seen | {name})
        return found

    def _rules(self, node, seen=frozenset()):
        if not node:
            return set()
        if "type" in node and "operator" not in node:
            return self._leaf(node, seen)
        found = set()
        for child in node.get("conditions") or []:
            found |= self._rules(child, seen)
        return found

    def closure(self, name):
        """The families behind a decision and whatever may go before it; None: there is no such decision."""
        wanted = next((d for d in self.decisions if d["name"] == name), None)
        if wanted is None:
            return None
        tiered = any(d.get("tier") for d in self.decisions)
        found = set()
        for d in self.decisions:
            if tiered:
                before = (d.get("tier") or 0) <= (wanted.get("tier") or 0)
            else:
                before = self.by_confidence or (d.get("priority") or 0) >= (wanted.get("priority") or 0)
            if before or d is wanted:
                found |= self._rules(d.get("rules"))
        return found


class Policy:
    """A configuration: its profiles, by the model names that ask for them."""

    def __init__(self, config):
        default = Profile("default", config.get("routing") or {})
        self.profiles = {"default": default}
        for recipe in config.get("recipes") or []:
            self.profiles[recipe["name"]] = Profile(recipe["name"], recipe.get("routing") or {})
        self.entrypoints = {model: entry.get("recipe") for entry in config.get("entrypoints") or []
                            for model in entry.get("model_names") or []}

    def profile(self, model):
        """The profile of a model name; without a name, the default one."""
        return self.profiles.get(self.entrypoints.get(model, "default"), self.profiles["default"])


# ---- probes ----

class Probe:
    """One variant of a decision's probes, with what it inherits."""

    def __init__(self, decision, variant, images):
        self.decision, self.variant, self.images = decision, variant, images
        self.id = f"{decision['id']}:{variant['id']}"
        self.expected = decision["expected_decision"]
        self.model = decision.get("model")
        self.recipe = decision.get("expected_recipe") or "default"
        self.algorithm = decision.get("expected_algorithm")
        signals = variant.get("expected_signals", decision.get("expected_signals")) or {}
        self.expected_signals = pairs(signals)
        self.forbidden_signals = pairs(decision.get("forbidden_signals") or {})
        self.tags = variant.get("tags") or []

    def request(self):
        """The body of its request."""
        body = {"model": self.model} if self.model else {}
        if self.variant.get("tools"):
            body["tools"] = self.variant["tools"]
        if self.variant.get("messages"):
            body["messages"] = self._messages()
        else:
            body["text"] = self._text()
        return body

    def _text(self):
        query = "\n".join([self.variant["query"].strip()] * self.variant.get("repeat", 1))
        padding = self.variant.get("padding")
        if not padding:
            return query
        lines = [padding["text"].strip()] * padding.get("repeat", 1)
        placement = padding.get("placement", "before")
        before = {"before": len(lines), "after": 0, "around": len(lines) // 2}[placement]
        return "\n".join([*lines[:before], query, *lines[before:]])

    def _messages(self):
        messages = copy.deepcopy(self.variant["messages"])
        plan = self.variant.get("generated_text")
        if plan:
            content = messages[plan["message_index"]]["content"]
            have = sum(len(p["text"].encode()) for p in content if isinstance(p.get("text"), str))
            more = plan["target_text_bytes"] - have
            content.insert(plan["content_index"], {"type": "text", "text": plan.get("character", "x") * more})
        for message in messages:
            parts = message.get("content")
            for i, part in enumerate(parts if isinstance(parts, list) else []):
                if part.get("type") == "image_fixture":
                    image = self.images[part["fixture"]]
                    data = "".join(image["data_base64"].split())
                    parts[i] = {"type": "image_url", "image_url": {"url": f"data:{image['media_type']};base64,{data}"}}
        return messages

    def categories(self):
        """The dimensions of robustness that its tags name."""
        tags, found = {t.strip().lower() for t in self.tags}, set()
        rules = {"language": any(t.startswith("language:") for t in tags) or tags & TAG_LANGUAGES,
                 "negative": tags & {"negative", "class:negative", "fallback"},
                 "collision": "collision" in tags or any(t.endswith(":collision") for t in tags),
                 "fallback": "fallback" in tags,
                 "stress": any(t.startswith("stress:") for t in tags),
                 "tools": tags & {"tools", "shape:tools"} or self.variant.get("tools"),
                 "multi_turn": tags & {"multi-turn", "multiturn", "shape:messages"} or self.variant.get("messages")}
        found.update(name for name, is_so in rules.items() if is_so)
        return found

    def model_free(self, policy):
        """Whether nothing that it asks about needs a model."""
        closure = policy.profile(self.model).closure(self.expected)
        asked = {kind for kind, _ in self.expected_signals | self.forbidden_signals} - {"projection"}
        return closure is not None and closure | asked <= LEXICAL


def pairs(families):
    """{"keywords": ["a"]} as {("keyword", "a")}."""
    return {(family(key), str(name)) for key, names in families.items() if isinstance(names, list) for name in names}


class Suite:
    """The probes of a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.config = self.folder / "config.yaml"
        self.manifest = load_yaml(self.folder / "probes.yaml")
        self.policy = Policy(load_yaml(self.config))
        self.name = self.manifest["name"]
        images = (self.manifest.get("fixtures") or {}).get("images") or {}
        self.probes = [Probe(d, v, images) for d in self.manifest["decisions"] for v in d["variants"]]


# ---- what came back ----

def ask(url, body, timeout=300, headers=None):
    """POST of JSON: (status, parsed or text)."""
    data = json.dumps(body, ensure_ascii=False).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            status, raw = response.status, response.read()
    except urllib.error.HTTPError as e:
        status, raw = e.code, e.read()
    try:
        return status, json.loads(raw)
    except ValueError:
        return status, raw.decode(errors="replace")


def _names(found):
    return ", ".join(sorted(f"{kind}:{name}" for kind, name in found))


def _compare_sets(what, mode, sets):
    expected, forbidden, actual = sets
    faults = []
    if expected - actual:
        faults.append(f"{what} missing {_names(expected - actual)}")
    if mode == "exact" and actual - expected:
        faults.append(f"{what} not expected {_names(actual - expected)}")
    if forbidden & actual:
        faults.append(f"{what} forbidden {_names(forbidden & actual)}")
    return faults


def _compare_selection(probe, answer):
    if not probe.algorithm:
        return []
    status, method = answer.get("selection_status"), answer.get("selection_method")
    model, recommended = answer.get("selected_model"), answer.get("recommended_models") or []
    faults = []
    if status not in STATUSES.get(probe.algorithm, ALL_STATUSES):
        faults.append(f"selection_status {status} of {probe.algorithm}")
    if method != probe.algorithm and (probe.algorithm, method) != ("static", "single"):
        faults.append(f"selection_method {method}, want {probe.algorithm}")
    if status in ("selected", "planned_final") and not model:
        faults.append(f"{status} without selected_model")
    if status == "selected" and model and model not in recommended:
        faults.append(f"selected_model {model} is no candidate")
    if status == "execution_required" and model:
        faults.append(f"execution_required, and yet selected_model {model}")
    return faults


def _compare_trace(probe, answer, profile):
    trace = answer.get("eval_trace")
    if not isinstance(trace, list) or not trace:
        return ["eval_trace is missing"]
    names = [t.get("decision_name") for t in trace]
    faults = []
    if sorted(map(str, names)) != sorted(d["name"] for d in profile.decisions):
        faults.append("eval_trace does not hold each decision of the recipe once")
    if [t.get("matched") for t in trace if t.get("decision_name") == probe.expected] != [True]:
        faults.append(f"eval_trace: {probe.expected} did not match")
    return faults


def decision_of(answer):
    """The name of the decision that an answer reports."""
    return answer.get("routing_decision") or (answer.get("decision_result") or {}).get("decision_name") or ""


def compare(probe, answer, profile):
    """What differs from what the probe expects, one text a difference; empty: it passes."""
    result = answer.get("decision_result") or {}
    recommended = answer.get("recommended_models") or []
    alias = probe.decision.get("expected_alias")
    faults = []
    if decision_of(answer) != probe.expected:
        faults.append(f"decision got {decision_of(answer) or 'none'}, expected {probe.expected}")
    if probe.model and answer.get("requested_model") != probe.model:
        faults.append(f"requested_model {answer.get('requested_model')}")
    if answer.get("recipe") != probe.recipe:
        faults.append(f"recipe {answer.get('recipe')}, expected {probe.recipe}")
    if probe.algorithm and result.get("algorithm") != probe.algorithm:
        faults.append(f"algorithm {result.get('algorithm')}, expected {probe.algorithm}")
    if alias and (recommended != [alias] if len(recommended) == 1 else alias not in recommended):
        faults.append(f"{alias} is not recommended: {recommended}")
    d = probe.decision
    plugins = [{("plugin", p) for p in names or []}
               for names in (d.get("expected_plugins"), d.get("forbidden_plugins"), result.get("plugins"))]
    faults += _compare_sets("plugins", d.get("plugin_match", "contains"), plugins)
    signals = [probe.expected_signals, probe.forbidden_signals, pairs(result.get("matched_signals") or {})]
    faults += _compare_sets("signals", d.get("signal_match", "contains"), signals)
    return faults + _compare_selection(probe, answer) + _compare_trace(probe, answer, profile)
