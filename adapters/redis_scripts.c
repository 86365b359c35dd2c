#include "adapters/redis_scripts.h"

/* EP and EV are set; sets `ep`, and defines the counter's next value and the event at it. */
#define LUA_EPOCH                                                                                  \
    "local ep = tonumber(redis.call('GET', EP) or '0')\n"                                          \
    "if not ep then return redis.error_reply('RS_DAMAGED the epoch counter is no number') end\n"   \
    "redis.call('XLEN', EV)\n"                                                                     \
    "local function num(x) return string.format('%.0f', x) end\n"                                  \
    "local function add(e, fields)\n"                                                              \
    "  return redis.pcall('XADD', EV, 'MAXLEN', '~', '" REDIS_EVENTS_KEPT "', num(e) .. '-0',\n"   \
    "    unpack(fields))\n"                                                                        \
    "end\n" /* the stream may be ahead of a counter that was lost */                               \
    "local function emit(e, steps, fields)\n"                                                      \
    "  local r = add(e, fields)\n"                                                                 \
    "  if type(r) == 'table' and r.err then\n"                                                     \
    "    local last = 0\n"                                                                         \
    "    local info = redis.call('XINFO', 'STREAM', EV)\n"                                         \
    "    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then\n"                          \
    "      last = tonumber(string.match(info[i + 1], '^%d+')) end end\n"                           \
    "    if last < e then return nil, r end\n"                                                     \
    "    e = last + steps\n"                                                                       \
    "    r = add(e, fields)\n"                                                                     \
    "    if type(r) == 'table' and r.err then return nil, r end\n"                                 \
    "  end\n"                                                                                      \
    "  redis.call('SET', EP, num(e))\n"                                                            \
    "  return e\n"                                                                                 \
    "end\n"                                                                                        \
    "local function epoch(v) return v and #v > 8 and struct.unpack('>I8', v) or 0 end\n"           \
    "local function stamp(e, v) return struct.pack('>I8', e) .. string.sub(v, 9) end\n"

const struct redis_script redis_write = {
    "local C, EP, EV, H, F, ID, B = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]\n"
    "local m = ARGV[1]\n"
    "if ARGV[10] ~= '' then\n"
    "  local kept = redis.call('GET', ID)\n"
    "  if kept then return {'again', kept} end\n"
    "end\n"
    "local now = redis.call('HGET', C, m)\n"
    "redis.call('STRLEN', F) redis.call('XLEN', H) redis.call('STRLEN', B)\n" LUA_EPOCH
    "if ep < tonumber(ARGV[3]) then return {'regressed', num(ep)} end\n"
    "local have = epoch(now)\n"
    "if have ~= tonumber(ARGV[2]) then return {'conflict', num(have)} end\n"
    "local n = tonumber(ARGV[11])\n"
    "local base = ep > have and ep or have\n"
    "local fields = {'a', m, 'p', num(ep)}\n"
    "local h = ARGV[6] == 'p' and ARGV[4] or ARGV[6] == 'f' and ARGV[5] or ''\n"
    "if ARGV[4] == '' then fields[5], fields[6] = 'd', '1'\n"
    "elseif h ~= '' then fields[5], fields[6] = 'h', h end\n"
    "local e, err = emit(base + n, n, fields)\n"
    "if not e then return err end\n"
    "if ARGV[4] == '' then\n"
    "  redis.call('HDEL', C, m) redis.call('DEL', F)\n"
    "else\n"
    "  redis.call('HSET', C, m, stamp(e, ARGV[4]))\n"
    "  if ARGV[5] ~= '' then redis.call('SET', F, stamp(e, ARGV[5]))\n"
    "  else redis.call('DEL', F) end\n"
    "  if not now then redis.call('SETBIT', B, ARGV[7], 1) end\n"
    "end\n"
    "for i = 0, n - 1 do\n"
    "  local o = 12 + 4 * i\n"
    "  redis.call('XADD', H, 'MAXLEN', '~', '1000', '*', 'epoch', num(e - n + 1 + i),\n"
    "    'when', ARGV[9], 'what', ARGV[o], 'alias', ARGV[o + 1], 'from', ARGV[o + 2],\n"
    "    'to', ARGV[o + 3], 'who', ARGV[8])\n"
    "end\n"
    "if ARGV[4] == '' then redis.call('EXPIRE', H, 2592000)\n"
    "elseif not now then redis.call('PERSIST', H) end\n"
    "if ARGV[10] ~= '' then\n"
    "  redis.call('SET', ID, num(e) .. ' ' .. ARGV[10], 'EX', 86400) end\n"
    "return {'ok', num(e)}\n",
    REDIS_WRITE_KEYS
};

const struct redis_script redis_import = {
    "local C, EP, EV, F, B = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]\n"
    "redis.call('STRLEN', B)\n" LUA_EPOCH
    "if ep < tonumber(ARGV[1]) then return {'regressed', num(ep)} end\n"
    "local rows, pos, todo, top, c, m, b, h, f = ARGV[3], 1, {}, ep\n"
    "while pos <= #rows do\n"
    "  m, b, h, f, pos = struct.unpack('>Hc0I4Hc0I4c0', rows, pos)\n"
    "  c = C .. num(b)\n"
    "  local now = redis.call('HGET', c, m)\n"
    "  if not now or ARGV[2] == '1' then\n"
    "    if now or f ~= '' then redis.call('STRLEN', F .. m) end\n"
    "    if epoch(now) > top then top = epoch(now) end\n"
    "    todo[#todo + 1] = {c, m, b, h, f, now}\n"
    "  end\n"
    "end\n"
    "if #todo == 0 then return {'ok', num(ep), 0} end\n"
    "local e, err = emit(top + 1, 1, {'p', num(ep), 'b', ARGV[4]})\n"
    "if not e then return err end\n"
    "local marked\n"
    "for _, t in ipairs(todo) do\n"
    "  redis.call('HSET', t[1], t[2], stamp(e, t[4]))\n"
    "  if t[5] ~= '' then redis.call('SET', F .. t[2], stamp(e, t[5]))\n"
    "  elseif t[6] then redis.call('DEL', F .. t[2]) end\n"
    "  if t[3] ~= marked then marked = t[3] redis.call('SETBIT', B, num(marked), 1) end\n"
    "end\n"
    "return {'ok', num(e), #todo}\n",
    5
};

const struct redis_script redis_restore = {
    "local C, F, B = KEYS[1], KEYS[2], KEYS[3]\n"
    "redis.call('STRLEN', B)\n"
    "local function epoch(v) return v and #v > 8 and struct.unpack('>I8', v) or 0 end\n"
    "local rows, pos, todo, m, b, h, f = ARGV[1], 1, {}\n"
    "while pos <= #rows do\n"
    "  m, b, h, f, pos = struct.unpack('>Hc0I4Hc0I4c0', rows, pos)\n"
    "  local c = C .. string.format('%.0f', b)\n"
    "  redis.call('STRLEN', F .. m)\n"
    "  if epoch(redis.call('HGET', c, m)) < epoch(h) then todo[#todo + 1] = {c, m, b, h, f} end\n"
    "end\n"
    "for _, t in ipairs(todo) do\n"
    "  redis.call('HSET', t[1], t[2], t[4])\n"
    "  if t[5] ~= '' then redis.call('SET', F .. t[2], t[5]) else redis.call('DEL', F .. t[2]) "
    "end\n"
    "  redis.call('SETBIT', B, string.format('%.0f', t[3]), 1)\n"
    "end\n"
    "return #todo\n",
    3
};

const struct redis_script redis_raise = {
    "local EP, EV = KEYS[1], KEYS[2]\n" LUA_EPOCH "local top = tonumber(ARGV[1])\n"
    "if ep > top then top = ep end\n"
    "local e, err = emit(top + 1, 1, {'p', num(top), 'r', ARGV[2]})\n"
    "return e and num(e) or err\n",
    2
};

const struct redis_script redis_gateways = {
    "local live = {}\n"
    "for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do\n"
    "  local beat = redis.call('GET', ARGV[1] .. id)\n"
    "  if beat then\n"
    "    live[#live + 1] = id\n"
    "    live[#live + 1] = ARGV[2] == '' and beat or redis.call('GET', ARGV[2] .. id) or ''\n"
    "  else redis.call('SREM', KEYS[1], id) end\n"
    "end\n"
    "return live\n",
    1
};

const struct redis_script redis_beat = {
    "redis.call('SADD', KEYS[1], ARGV[1])\n"
    "redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])\n"
    "if ARGV[4] ~= '=' then redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[3]) end\n"
    "return 1\n",
    3
};

const struct redis_script redis_quota = {
    "local n = tonumber(redis.call('HGET', KEYS[1], 'n') or '0') or 0\n"
    "local max = tonumber(redis.call('HGET', KEYS[1], 'max_adapters') or '0') or 0\n"
    "local d = tonumber(ARGV[1])\n"
    "if d > 0 and max > 0 and n + d > max then return {'full', string.format('%.0f', max)} end\n"
    "n = n + d\n"
    "if n < 0 then n = 0 end\n"
    "redis.call('HSET', KEYS[1], 'n', string.format('%.0f', n))\n"
    "return {'ok', string.format('%.0f', n)}\n",
    1
};
