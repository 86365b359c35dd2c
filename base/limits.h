/*
 * Every ceiling on what a peer can make us hold, with its reason. Configuration may lower some.
 */
#pragma once

#define KIB (1024ul)
#define MIB (1024ul * KIB)
#define GIB (1024ul * MIB)

/* HTTP */
#define LIMIT_BODY (256 * MIB)         /* gateway.limits.body may not exceed it */
#define LIMIT_HEADER (64 * KIB)        /* gateway.limits.header may not exceed it */
#define LIMIT_JSON_DEPTH 64            /* request documents; deeper ones are attacks */
#define LIMIT_BODY_FIELDS 1024         /* members of a body: each is looked up among them */
#define LIMIT_MESSAGES 16384           /* of one request */
#define LIMIT_PARTS 16384              /* of one message */
#define LIMIT_STOPS 16                 /* stop strings of one request (OpenAI allows 4) */
#define LIMIT_STOP_BYTES 1024          /* of one stop string: bounds the hold-back */
#define LIMIT_LOGIT_BIAS 1024          /* entries of one request */
#define LIMIT_TOP_LOGPROBS 20          /* OpenAI's own */
#define LIMIT_LEGACY_LOGPROBS 5        /* of /v1/completions; OpenAI's own */
#define LIMIT_CHOICES 128              /* n and best_of; OpenAI's own */
#define LIMIT_STOP_IDS 256             /* stop tokens of one request */
#define LIMIT_FORMAT_BYTES (1 * MIB)   /* a schema, grammar or expression of one request */
#define LIMIT_PROMPTS 128              /* prompts of one completion request, times n or best_of */
#define LIMIT_EMBED_INPUTS 2048        /* of one embedding request: OpenAI's own */
#define LIMIT_EMBED_TOKENS 300000      /* of all of them: likewise */
#define LIMIT_REQUEST_ARENA (1 * GIB)  /* decoded request, plugins, rendering */
#define LIMIT_SSE_EVENT (64 * MIB)     /* one rendered event, JSON escapes included */
#define LIMIT_STREAM_BACKLOG (4 * MIB) /* rendered but unread by a slow client */
#define LIMIT_NAME 256                 /* model, adapter, alias names in bytes */

/* Engines behind */
#define LIMIT_UPSTREAM_EVENT (16 * MIB)   /* one event of a stream */
#define LIMIT_UPSTREAM_ANSWER (64 * MIB)  /* one that is not streamed */
#define LIMIT_UPSTREAM_BODY (512 * MIB)   /* what we send: a client's body and what is added */
#define LIMIT_UPSTREAM_REFUSAL (64 * KIB) /* what is read of an error's body */

/* Configuration */
#define LIMIT_YAML_BYTES (16 * MIB)
#define LIMIT_YAML_DEPTH 64
#define LIMIT_YAML_NODES 1000000 /* an alias bomb stops here */
#define LIMIT_PROBLEMS 200       /* reported by one check */

/* Model files */
#define LIMIT_GGUF_TENSORS 65536
#define LIMIT_GGUF_KEYS 65536
#define LIMIT_GGUF_STRING (16 * MIB)  /* chat templates are kilobytes */
#define LIMIT_GGUF_ARRAY (16ul << 20) /* elements; the largest vocabularies have 262,144 */
#define LIMIT_SAFETENSORS_HEADER (64 * MIB)
#define LIMIT_LORA_RANK 1024
#define LIMIT_VOCAB (1ul << 20)
#define LIMIT_CONTEXT (1ul << 20)        /* tokens of one sequence */
#define LIMIT_BATCH_ROWS 4096            /* rows of one engine step */
#define LIMIT_SLOTS 1024                 /* sequences decoded together */
#define LIMIT_TEMPLATE_BYTES (1 * MIB)   /* a chat template's source */
#define LIMIT_TEMPLATE_OUTPUT (64 * MIB) /* its rendering */
#define LIMIT_TEMPLATE_STEPS 10000000    /* evaluation steps of one rendering */
#define LIMIT_TEMPLATE_DEPTH 64          /* nesting of expressions, blocks and calls */

/* Catalog */
#define LIMIT_ADAPTER_BYTES (8 * GIB)
#define LIMIT_ADAPTER_FILES 16 /* of one revision */
#define LIMIT_REDIS_REPLY (256 * MIB)
#define LIMIT_REDIS_ELEMENTS (1 << 20) /* of one reply */
#define LIMIT_REDIS_NODES 1024         /* of one Cluster */
#define LIMIT_REVISIONS 1024           /* kept for one adapter */
#define LIMIT_ALIASES 64               /* of one adapter */

/* Guardrails */
#define LIMIT_HOLD_BACK 512 /* bytes a stream guard may withhold */
