#include "adapters/redis_scripts.h"

/* What every write begins with. */
#define LUA_WRITE                                                                                  \
    "local A, R, AL, EV, EP, H = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]\n"           \
    "redis.call('HLEN', A) redis.call('HLEN', R) redis.call('HLEN', AL)\n"                         \
    "redis.call('XLEN', EV) redis.call('XLEN', H)\n"                                               \
    "if not tonumber(redis.call('GET', EP) or '0') then\n"                                         \
    "  return redis.error_reply('RS_DAMAGED the epoch is no number') end\n"                        \
    "if not tonumber(redis.call('HGET', A, 'n') or '0') then\n"                                    \
    "  return redis.error_reply('RS_DAMAGED the revision counter is no number') end\n"             \
    "local function emit(what, alias, from, to)\n"                                                 \
    "  local e = redis.call('INCR', EP)\n"                                                         \
    "  local id = redis.call('XADD', EV, 'MAXLEN', '~', '100000', '*', 'epoch', e,\n"              \
    "    'adapter', ARGV[1], 'what', what)\n"                                                      \
    "  redis.call('XADD', H, 'MAXLEN', '~', '1000', '*', 'epoch', e, 'when', ARGV[3],\n"           \
    "    'what', what, 'alias', alias, 'from', from, 'to', to, 'who', ARGV[2])\n"                  \
    "  redis.call('HSET', A, 'epoch', e, 'last', id)\n"                                            \
    "end\n"                                                                                        \
    "local function at(alias)\n"                                                                   \
    "  local v = redis.call('HGET', AL, alias)\n"                                                  \
    "  return v and string.sub(v, 1, 64) or '', v and string.sub(v, 66, 129) or ''\n"              \
    "end\n"                                                                                        \
    "local function move(what, alias, to)\n"                                                       \
    "  local from = at(alias)\n"                                                                   \
    "  if from == to then return end\n"                                                            \
    "  redis.call('HSET', AL, alias, to .. ' ' .. from)\n"                                         \
    "  if alias == 'prod' and from ~= '' then\n"                                                   \
    "    local p = at('prev')\n"                                                                   \
    "    if p ~= from then redis.call('HSET', AL, 'prev', from .. ' ' .. p) end\n"                 \
    "  end\n"                                                                                      \
    "  emit(what, alias, from, to)\n"                                                              \
    "end\n"                                                                                        \
    "local function room(alias)\n"                                                                 \
    "  return redis.call('HEXISTS', AL, alias) == 1 or redis.call('HLEN', AL) < 63\n"              \
    "end\n"                                                                                        \
    "local function last() return redis.call('HGET', A, 'last') or '0-0' end\n"

const struct redis_script redis_publish = {
    LUA_WRITE
    "redis.call('SCARD', KEYS[7]) redis.call('SCARD', KEYS[8]) redis.call('GET', KEYS[9])\n"
    "local alias, first = ARGV[10], redis.call('HLEN', R) == 0\n"
    "if alias == '' and first then alias = 'prod' end\n"
    "if alias ~= '' and not room(alias) then\n"
    "  return redis.error_reply('RS_FULL the adapter has too many aliases') end\n"
    "if redis.call('HEXISTS', R, ARGV[4]) == 0 then\n"
    "  if redis.call('HLEN', R) >= 1024 then\n"
    "    return redis.error_reply('RS_FULL the adapter has too many revisions') end\n"
    "  redis.call('SET', KEYS[9], ARGV[7])\n"
    "  local n = redis.call('HINCRBY', A, 'n', 1)\n"
    "  redis.call('HSET', R, ARGV[4], n .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])\n"
    "  if ARGV[8] ~= '' then redis.call('HSET', A, 'description', ARGV[8]) end\n"
    "  if ARGV[9] ~= '' then redis.call('HSET', A, 'examples', ARGV[9]) end\n"
    "  redis.call('SADD', KEYS[7], ARGV[1])\n"
    "  redis.call('SADD', KEYS[8], ARGV[11])\n"
    "  emit('publish', '', '', ARGV[4])\n"
    "end\n"
    "if alias ~= '' then move('alias', alias, ARGV[4]) end\n"
    "return last()\n",
    9
};

const struct redis_script redis_alias = {
    LUA_WRITE "local to = ARGV[5]\n"
              "if ARGV[6] ~= '' then to = at(ARGV[6]) end\n"
              "if redis.call('HEXISTS', R, to) == 0 then\n"
              "  return redis.error_reply('RS_NOTFOUND the revision is gone') end\n"
              "local now = at(ARGV[4])\n"
              "if ARGV[7] ~= '' and ARGV[7] ~= now then\n"
              "  return redis.error_reply('RS_MISMATCH ' .. (now == '' and 'nothing' or now)) end\n"
              "if not room(ARGV[4]) then\n"
              "  return redis.error_reply('RS_FULL the adapter has too many aliases') end\n"
              "move('alias', ARGV[4], to)\n"
              "return last()\n",
    6
};

const struct redis_script redis_rollback = {
    LUA_WRITE "local now, former = at(ARGV[4])\n"
              "if now == '' or former == '' or redis.call('HEXISTS', R, former) == 0 then\n"
              "  return redis.error_reply('RS_NOFORMER it never moved') end\n"
              "move('rollback', ARGV[4], former)\n"
              "return last()\n",
    6
};

const struct redis_script redis_head = {
    "if redis.call('HLEN', KEYS[1]) > 64 or redis.call('HLEN', KEYS[2]) > 1024\n"
    "  or redis.call('HLEN', KEYS[3]) > 64 then\n"
    "  return redis.error_reply('RS_DAMAGED a hash has too many fields') end\n"
    "if redis.call('HLEN', KEYS[1]) == 0 then return {} end\n"
    "return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]),\n"
    "  redis.call('HGETALL', KEYS[3])}\n",
    3
};

const struct redis_script redis_gateways = {
    "local all, live = redis.call('SMEMBERS', KEYS[1]), {}\n"
    "for _, id in ipairs(all) do\n"
    "  local applied = redis.call('GET', ARGV[1] .. id)\n"
    "  if not applied then redis.call('SREM', KEYS[1], id)\n"
    "  elseif id ~= ARGV[2] then live[#live + 1] = applied end\n"
    "end\n"
    "return live\n",
    1
};

const struct redis_script redis_beat = { "redis.call('SADD', KEYS[1], ARGV[1])\n"
                                         "redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])\n"
                                         "return 1\n",
                                         2 };
