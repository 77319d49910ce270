"""The Lua scripts of the lock store in Redis: one for each verb, each on the key of a lock.

Those with which a message begins or ends are told a second key, in the same slot: while that is
there, the message is known to have ended.
"""

from __future__ import annotations

import hashlib


class Script:
    """A script's text and the digest by which EVALSHA knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# Every script reads the record, and answers a refusal with all of it and the milliseconds left,
# in JSON: a client takes its time over many small replies. The fields of a follow-up begin
# with "next.".
_HELD = """local function read()
  local record, all = {}, redis.call('HGETALL', KEYS[1])
  for at = 1, #all, 2 do record[all[at]] = all[at + 1] end
  return record
end
local held = read()
local function told(record)
  record.pttl = redis.call('PTTL', KEYS[1])
  return cjson.encode(record)
end
local function each(next, act)
  for name, value in pairs(held) do
    if (string.sub(name, 1, 5) == 'next.') == next then act(name, value) end
  end
end
local function drop(name) redis.call('HDEL', KEYS[1], name) end
"""

# Remembers for some milliseconds, if any, that the message with a token has ended.
_REMEMBER = """local function remember(token, copied, ms)
  copied = copied ~= '' or (held.token == token and held.copied)
  if copied and ms ~= '0' and KEYS[2] then redis.call('SET', KEYS[2], '1', 'PX', ms) end
end
"""

# ARGV: ttl in ms, token and run to replace, owner, token, hits to count, 'follow', 'instead' or
# nothing, the call of a follow-up, now, whether the one to replace is copied, the ms to remember
# its end, then all fields.
ACQUIRE = Script(f"""{_HELD}{_REMEMBER}
if ARGV[2] ~= ARGV[5] then remember(ARGV[2], ARGV[10], ARGV[11]) end
local handed = ARGV[2] ~= '' and held.token == ARGV[2]
  and (ARGV[3] == '' or not held.run or held.run == ARGV[3])
if held.token == ARGV[5] and not handed then return false end
if held.token and not handed then
  local expired = held.grace and held.phase == 'queued'
    and redis.call('PTTL', KEYS[1]) <= held.grace * 1000
  if ARGV[6] ~= '0' and not expired then
    held.hits = redis.call('HINCRBY', KEYS[1], 'hits', ARGV[6])
  end
  local instead, reserved = ARGV[7] == 'instead', held.phase == 'reserved'
  local own = ARGV[2] ~= '' and held['next.token'] == ARGV[2]
  local unsure = held['next.instead'] and not held['next.call'] and ARGV[8] ~= ''
  local open = reserved and (own or unsure or not held['next.owner'])
  if ARGV[7] == '' or instead and not open then return told(held) end
  if held['next.instead'] then
    each(true, drop)
    held = read()
  end
  local words = {{label = true, requester = true, visitor = true}}
  if ARGV[8] ~= '' then  -- one person's words are not to stand beside another's name
    for name in pairs(words) do drop('next.' .. name) end
  end
  for at = 12, #ARGV, 2 do
    local name = ARGV[at]
    local newer = ARGV[8] ~= '' and words[name]
    local later = name == 'grace' or name == 'begins' and ARGV[8] ~= '' and not instead
    local first = not held['next.owner'] and not later
    if newer or first then redis.call('HSET', KEYS[1], 'next.' .. name, ARGV[at + 1]) end
  end
  if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'next.call', ARGV[8]) end
  redis.call('HSETNX', KEYS[1], 'next.ttl', ARGV[1])
  local left = redis.call('PTTL', KEYS[1])
  redis.call('HSETNX', KEYS[1], 'seen', reserved and ARGV[9] + left / 1000 or ARGV[9])
  if instead then
    redis.call('HSET', KEYS[1], 'next.owner', held.owner, 'next.instead', '1')
    redis.call('PEXPIRE', KEYS[1], left + ARGV[1])
  elseif held.phase == 'running' and left < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
  end
  return told(read())
end
if handed and held.owner == ARGV[4] then
  redis.call(
    'HDEL', KEYS[1], 'run', 'started', 'worker', 'lease', 'sent_back', 'seen', 'grace', 'begins'
  )
  if held['next.instead'] then each(true, drop) end
  if held.token ~= ARGV[5] then drop('copied') end
  local said = {{
    token = true, phase = true, label = true, requester = true, visitor = true, grace = true,
    begins = true
  }}
  for at = 12, #ARGV, 2 do
    if said[ARGV[at]] then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
  end
else
  if handed then each(false, drop) end
  redis.call('HSET', KEYS[1], unpack(ARGV, 12))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return false
""")

# ARGV: lease in ms, 'start', 'turn' or 'renew', owner, token, run, started, worker, another token
# that the lock may have, now, whether it is copied, when a copy must have been noted for the run
# to be dead, if it may be, then all fields. The run behind that other token is over.
START = Script(f"""{_HELD}
if ARGV[2] ~= 'renew' and KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return 'ENDED' end
if not held.token then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1] / 1000, unpack(ARGV, 12))
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return 'TAKEN'
end
if ARGV[8] ~= '' and held.token == ARGV[8] then
  redis.call('HSET', KEYS[1], 'token', ARGV[4])
  held.token, held.run = ARGV[4], nil
end
local least = 2 * ARGV[1]
if held.token ~= ARGV[4] and held['next.token'] == ARGV[4] then
  if held.phase == 'running' and redis.call('PTTL', KEYS[1]) < 2 * least then
    redis.call('PEXPIRE', KEYS[1], 2 * least)
  end
  return 'FOLLOWS ' .. told(held)
end
if held.token ~= ARGV[4] then
  if ARGV[2] == 'start' and held.owner ~= ARGV[3] then
    held.hits = redis.call('HINCRBY', KEYS[1], 'hits', 1)
  end
  return 'ANOTHER ' .. told(held)
end
local elsewhere = held.run and held.run ~= ARGV[5]
local noted = held.sent_back and ARGV[11] ~= ''
local dead = noted and tonumber(held.sent_back) <= tonumber(ARGV[11])
if elsewhere and not dead then
  if ARGV[2] ~= 'renew' then
    held.sent_back = held.sent_back or ARGV[9]
    redis.call('HSET', KEYS[1], 'sent_back', held.sent_back, 'copied', '1')
    if redis.call('PTTL', KEYS[1]) < least then redis.call('PEXPIRE', KEYS[1], least) end
  end
  return 'ELSEWHERE ' .. told(held)
end
if held.sent_back or held.call then redis.call('HDEL', KEYS[1], 'sent_back', 'call') end
if held['next.owner'] then redis.call('HSET', KEYS[1], 'seen', ARGV[9]) end
if ARGV[10] ~= '' and not held.copied then redis.call('HSET', KEYS[1], 'copied', '1') end
if held.run ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'phase', 'running', 'run', ARGV[5],
             'started', ARGV[6], 'worker', ARGV[7], 'lease', ARGV[1] / 1000)
end
local keeps = held['until'] == 'expired' or held['next.owner']
if not keeps or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 'MINE'
""")

# ARGV: lease in ms, token, run. Says 0 where the lock is not that run's, or has more to it
# than a time: START looks into it.
RENEW = Script("""
local held = redis.call(
  'HMGET', KEYS[1], 'token', 'run', 'until', 'next.owner', 'sent_back', 'call'
)
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return 0 end
if held[3] or held[4] or held[5] or held[6] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
""")

_MINE = """
local mine = held.token == ARGV[1]
  and (ARGV[2] == '' or not held.run or held.run == ARGV[2])
"""

# ARGV: token and run, both empty to release whoever holds it; a token for a follow-up that has
# yet to be published; whether the message is copied, the ms to remember its end.
RELEASE = Script(f"""{_HELD}{_MINE}{_REMEMBER}
remember(ARGV[1], ARGV[4], ARGV[5])
if ARGV[1] ~= '' and not mine then
  if held['next.token'] == ARGV[1] then each(true, drop) end
  return false
end
if not held.token then return false end
local last = told(held)
held.pttl = nil
if ARGV[1] == '' or not held['next.owner'] then
  redis.call('DEL', KEYS[1])
  return last
end
each(false, drop)
each(true, function(name, value)
  local own = name ~= 'next.ttl' and name ~= 'next.instead'
  if own then redis.call('HSET', KEYS[1], string.sub(name, 6), value) end
  drop(name)
end)
if held['next.call'] then redis.call('HSET', KEYS[1], 'token', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], held['next.ttl'])
return last
""")

# ARGV: token, run, ms to leave.
SHORTEN = Script(f"""{_HELD}{_MINE}
if not mine then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
""")

INSPECT = Script(f"""{_HELD}
if not held.token then return false end
return told(held)
""")
