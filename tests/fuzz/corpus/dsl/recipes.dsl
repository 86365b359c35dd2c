# A policy with every kind of statement but a tree.
ROUTING { strategy: priority }

SIGNAL keyword urgent { operator: "OR" keywords: ["urgent", "\\basap\\b", "緊急"] method: "regex" }
SIGNAL context long { min_tokens: "16K" max_tokens: "1M" } # sizes are texts
SIGNAL structure dense {
  feature: { type: "density" source: { type: "keyword_set" keywords: ["must", "exactly"] } }
  predicate: { gt: 0.08 }
}
SIGNAL authz admin { role: "admin" subjects: [{ kind: "Group", name: "ops" }] }

PROJECTION partition topics { semantics: "exclusive" members: ["a", "b"] default: "a" }
PROJECTION score effort {
  method: "weighted_sum"
  inputs: [{ type: "keyword", name: "urgent", weight: -0.35, value_source: "confidence" }]
}
PROJECTION mapping band {
  source: "effort"
  calibration: { method: "sigmoid_distance", slope: 10 }
  outputs: [{ name: "low", lt: 0.3 }, { name: "high", gte: 0.3 }]
}

MODEL local/base-9b { param_size: "9B" tags: [] loras: [{ name: "law" }] }
PLUGIN calm system_prompt { enabled: true mode: "insert" system_prompt: "Be calm." }

ROUTE first (description = "All of it." owner = team) {
  PRIORITY 100
  TIER 1
  WHEN (keyword("urgent") OR NOT context("long")) AND projection("high", on_error: "match")
  MODEL "local/base-9b" (reasoning = true, effort = "low", lora = "law", weight = 0.5),
        other
  FOR m IN ["local/base-9b"] { MODEL m }
  ALGORITHM workflows { planner.model: "x" roles: [{ name: "r", models: ["x"] }] on_error: "skip" }
  PLUGIN calm { mode: "replace" }
  PLUGIN semantic-cache
  EMIT retention { drop: false ttl_turns: 3 }
}

ENTRYPOINT { model_names: ["auto-law"] recipe: "law" }
RECIPE law (description = "Law only.") {
  SIGNAL language de { threshold: 0.5 }
  ROUTE german { WHEN language("de") MODEL "local/base-9b" }
  TEST german { "Guten Tag" -> german "Hallo" → german }
}
