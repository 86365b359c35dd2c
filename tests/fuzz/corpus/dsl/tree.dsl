# head comment

ROUTING { strategy: priority }
SIGNAL keyword urgent { keywords: ["urgent", "asap"], operator: "OR" }  # why
SIGNAL keyword code {
  # languages
  operator: "OR"

  keywords: [
    "python", # snake
    # the other
    "rust"
    # tail
  ]
}
SIGNAL domain math { description: "x" }
MODEL "base" { quality_score: 0.5 }
PLUGIN safe fast_response { message: "no" }
DECISION_TREE support {
  IF keyword("urgent") AND NOT keyword("code") {
    NAME hot
    MODEL "base" (reasoning = false)
    EMIT retention { drop: true }
  }
  ELSE IF (keyword("code") OR domain("math")) {
    MODEL "base"
    PLUGIN safe { message: "override" }
  }
  ELSE {
    DESCRIPTION "the rest"
    MODEL "base"
    FOR m IN ["base"] { MODEL m }
    ALGORITHM weighted
  }
}
TEST t { "write python" -> support__branch_02 "it is urgent" -> hot
 "hello" → support__branch_03 "hi" -> hot }
