/*
 * The ledger of adapters on engines behind, of all gateways of one catalog: the engines' side
 * (engine/upstream/ledger.h) over what adapters/ keeps in Redis.
 */
#pragma once

#include "engine/upstream/ledger.h"

/* ctx: a struct shared_ledger. */
extern const struct ledger_ops fleet_ledger_ops;
