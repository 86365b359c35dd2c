"""Rows to learn each classifier from: the data sets of DATA, and sentences from our own patterns.

A row is {"text", "label", "source", "fold"}: it is scored by a model that has not learnt from its fold. Rows of one pattern,
or about one topic, share a fold, or their siblings would make every score look perfect.
"""
import hashlib
import json
import os
import random
import re

import domain_topics
import fact_check_phrases
import feedback_phrases
import jailbreak_phrases
import modality_phrases
import phrases

FOLDS = 5
SEED = 20261121

# Subjects of MMLU as MMLU-Pro sorts them; those that it mixes or that stand between two domains are left out.
MMLU = {
    "biology": "college_biology high_school_biology",
    "business": "business_ethics management marketing",
    "chemistry": "college_chemistry high_school_chemistry",
    "computer science": "college_computer_science computer_security high_school_computer_science machine_learning",
    "economics": "econometrics high_school_macroeconomics high_school_microeconomics",
    "engineering": "electrical_engineering",
    "health": "anatomy clinical_knowledge college_medicine human_aging medical_genetics nutrition professional_medicine "
              "virology",
    "history": "high_school_european_history high_school_us_history high_school_world_history prehistory",
    "law": "international_law jurisprudence professional_law",
    "math": "abstract_algebra college_mathematics elementary_mathematics high_school_mathematics high_school_statistics",
    "other": "global_facts miscellaneous public_relations security_studies us_foreign_policy high_school_geography",
    "philosophy": "formal_logic logical_fallacies moral_disputes philosophy world_religions",
    "physics": "astronomy college_physics conceptual_physics high_school_physics",
    "psychology": "high_school_psychology professional_psychology",
}
MMLU_DOMAIN = {subject: domain for domain, subjects in MMLU.items() for subject in subjects.split()}


def read(folder, name):
    with open(os.path.join(folder, name + ".dev.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def fold_of(text):
    key = re.sub(r"\W", "", text.casefold())[:64]
    return int(hashlib.sha1(key.encode()).hexdigest(), 16) % FOLDS


def row(text, label, source, group=None):
    return {"text": text.strip(), "label": label, "source": source, "fold": fold_of(group or text)}


def sample(rows, n, rng):
    return rng.sample(rows, n) if len(rows) > n else list(rows)


def stem(question):
    """A question without its lettered answers."""
    return re.split(r"\n\s*A[.)] ", question)[0]


def made(patterns, label, each, rng):
    """Sentences of patterns; all of one pattern are in one fold, so that what is scored is of patterns not seen."""
    return [row(text, label, "patterns") | {"fold": fold_of(pattern)}
            for pattern in patterns for text in phrases.sentences([pattern], each, rng)]


def domain(folder):
    rng = random.Random(SEED)
    rows = [row(r["text"], r["label"], "mmlu_pro") for r in read(folder, "mmlu_pro_category")]
    rows += [row(stem(r["text"]), MMLU_DOMAIN[r["label"]], "routellm_mmlu") for r in read(folder, "routellm_mmlu")
             if r["label"] in MMLU_DOMAIN]
    rows += [row(r["text"], r["label"], "vllm_sr_e2e") for r in read(folder, "vllm_sr_e2e") if r["task"] == "domain"]
    tasks = read(folder, "task_route")
    for task, label, n in (("code", "computer science", 250), ("math", "math", 150), ("writing", "other", 100),
                           ("roleplay", "other", 60), ("translation", "other", 21)):
        rows += [row(r["text"], label, "task_route") for r in sample([r for r in tasks if r["label"] == task], n, rng)]
    rows += [row(r["text"], "other", "clinc150") for r in sample(read(folder, "clinc150"), 600, rng)]
    rows += [row(text, label, "topics", topic) for text, label, topic in domain_topics.questions(rng)]
    return rows


def feedback(folder):
    rng = random.Random(SEED)
    rows = []
    for label, patterns in feedback_phrases.ENGLISH.items():
        rows += made(patterns, label, 40, rng)
    for language in feedback_phrases.FOREIGN.values():
        for label, patterns in language.items():
            rows += made(patterns, label, 12, rng)
    rows += made(feedback_phrases.NONE, "none", 25, rng)
    for name, n in (("clinc150", 1500), ("banking77", 300), ("mmlu_pro_category", 300), ("task_route", 500),
                    ("langid", 1200), ("hwu64", 500), ("mtbench_vicuna", 80)):
        rows += [row(r["text"], "none", name) for r in sample(read(folder, name), n, rng)]
    rows += [row(r["turn2"], "none", "mtbench_vicuna") for r in read(folder, "mtbench_vicuna") if r.get("turn2")]
    return rows


def fact_check(folder):
    rng = random.Random(SEED)
    yes, no = "needs_fact_check", "no_fact_check_needed"
    tasks, suffix = read(folder, "task_route"), read(folder, "adversarial_suffix")
    rows = [row(r["text"], yes, "task_route") for r in tasks if r["label"] == "factual_qa"]
    rows += [row(r["question"], yes, "halueval_qa") for r in read(folder, "halueval_qa")]
    rows += [row(r["text"], yes, "tydiqa") for r in sample([r for r in suffix if r.get("source") == "tydiqa"], 610, rng)]
    topics = list(domain_topics.questions(rng))
    rows += [row(text, yes if asks_proof(text) else no, "topics", topic) for text, _, topic in sample(topics, 900, rng)]
    rows += made(fact_check_phrases.NEEDS, yes, 30, rng) + made(fact_check_phrases.NEEDS_FOREIGN, yes, 8, rng)
    for task in ("math", "code", "reasoning", "writing", "roleplay", "summarization", "translation"):
        rows += [row(r["text"], no, "task_route") for r in sample([r for r in tasks if r["label"] == task], 250, rng)]
    for name, n in (("clinc150", 700), ("banking77", 250), ("hwu64", 400)):
        rows += [row(r["text"], no, name) for r in sample([r for r in read(folder, name) if not asks_fact(r)], n, rng)]
    rows += made(fact_check_phrases.NOT, no, 30, rng) + made(fact_check_phrases.NOT_FOREIGN, no, 8, rng)
    rows += [r | {"label": no} for r in made(feedback_phrases.SATISFIED + feedback_phrases.DIFFERENT, no, 6, rng)]
    return rows


FACTUAL_INTENTS = {"definition", "oos", "qa_factoid", "qa_definition", "exchange_rate", "qa_currency", "nutrition_info",
                   "calories", "distance", "general_quirky", "qa_stock", "news_query", "international_fees",
                   "vaccines", "plug_type", "flight_status", "weather", "weather_query", "timezone", "interest_rate",
                   "qa_maths", "food_last", "international_visa", "travel_alert", "recommendation_events"}


def asks_proof(text):
    return "Cite" in text or "true" in text


def asks_fact(r):
    return r["label"] in FACTUAL_INTENTS


def jailbreak(folder):
    rng = random.Random(SEED)
    yes, no = "jailbreak", "benign"
    rows = [row(r["text"], yes if r["label"] == yes else no, "jailbreak") for r in read(folder, "jailbreak")]
    rows += [row(r["text"], yes if r["label"] == "injection" else no, "prompt_injection")
             for r in read(folder, "prompt_injection")]
    rows += [row(r["text"], yes, "vllm_sr_e2e") for r in read(folder, "vllm_sr_e2e") if r["task"] == "jailbreak"]
    rows += made(jailbreak_phrases.ATTACKS, yes, 40, rng) + made(jailbreak_phrases.ATTACKS_FOREIGN, yes, 20, rng)
    rows += made(jailbreak_phrases.HONEST, no, 25, rng) + made(jailbreak_phrases.HONEST_FOREIGN, no, 8, rng)
    rows += made(fact_check_phrases.NOT_FOREIGN + fact_check_phrases.NEEDS_FOREIGN, no, 8, rng)
    for language in feedback_phrases.FOREIGN.values():
        for patterns in language.values():
            rows += made(patterns, no, 6, rng)
    rows += [row(text, no, "topics", topic) for text, _, topic in sample(list(domain_topics.questions(rng)), 900, rng)]
    for name, n in (("clinc150", 1200), ("banking77", 600), ("hwu64", 600), ("mmlu_pro_category", 1200),
                    ("task_route", 1000), ("langid", 1500), ("output_length", 400), ("mtbench_vicuna", 81)):
        rows += [row(r["text"], no, name) for r in sample(read(folder, name), n, rng)]
    rows += [row(r["text"], no, "xstest") for r in read(folder, "xstest") if r["label"] == "safe"]
    rows += [row(r["text"], no, "borderline_safe") for r in read(folder, "harmful_requests")
             if r["label"] == "borderline_safe"]
    rows += [row(r["text"], no, "mitre_frr_ml") for r in read(folder, "langid_prompts")
             if r["source"].startswith("mitre_frr")]
    rows += [row(r["text"], no, r["source"]) for r in read(folder, "adversarial_suffix") if r["label"] == "benign"]
    rows += [row(r["text"], no, "vllm_sr_e2e") for r in read(folder, "vllm_sr_e2e") if r["task"] != "jailbreak"]
    rows += made(feedback_phrases.WRONG + feedback_phrases.DIFFERENT + feedback_phrases.CLARIFY, no, 5, rng)
    return rows


def modality(folder):
    rng = random.Random(SEED)
    rows = made(modality_phrases.IMAGE, "DIFFUSION", 60, rng) + made(modality_phrases.BOTH, "BOTH", 60, rng)
    rows += made(modality_phrases.TEXT_NEAR, "AR", 30, rng)
    rows += made(fact_check_phrases.NOT, "AR", 10, rng) + made(fact_check_phrases.NEEDS, "AR", 10, rng)
    rows += made(fact_check_phrases.NOT_FOREIGN, "AR", 5, rng) + made(fact_check_phrases.NEEDS_FOREIGN, "AR", 5, rng)
    rows += [row(text, "AR", "topics", topic) for text, _, topic in sample(list(domain_topics.questions(rng)), 400, rng)]
    for name, n in (("clinc150", 800), ("task_route", 800), ("mtbench_vicuna", 81), ("langid", 600),
                    ("output_length", 300), ("jailbreak", 300)):
        rows += [row(r["text"], "AR", name) for r in sample(read(folder, name), n, rng)]
    return rows


# name of the model: (rows, cost of an error, bytes at most, how much likelier a class is than among the rows
# or "", what the temperature is multiplied by)
SIGNALS = {
    "domain": (domain, 20, 2_000_000, "other=0.5", 1),
    "jailbreak": (jailbreak, 20, 500_000, "jailbreak=3", 1),
    "fact_check": (fact_check, 20, 500_000, "needs_fact_check=1.5", 0.85),
    "feedback": (feedback, 20, 700_000, "none=0.4", 0.75),
    "modality": (modality, 20, 500_000, "AR=0.5", 1),
}

# Sets whose texts count for how rare a feature is.
BACKGROUND = ["adversarial_suffix", "banking77", "begin", "clinc150", "halueval_qa", "harmful_requests", "hwu64",
              "indirect_injection_bipia", "jailbreak", "langid", "langid_prompts", "mmlu_pro_category",
              "mtbench_vicuna", "output_length", "prompt_injection", "routellm_gsm8k", "routellm_mmlu", "routerarena",
              "task_route", "xstest"]
