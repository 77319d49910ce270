"""The Lua scripts of the lock store in Redis: one for each verb, each on one key."""

from __future__ import annotations

import hashlib


class Script:
    """A script's text and the digest by which EVALSHA knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# Every script reads the fields that decide, and answers a refusal with the holder's whole
# record: [fields, milliseconds left]. The fields of its follow-up begin with "next.".
_HELD = """local held = redis.call(
  'HMGET', KEYS[1], 'token', 'run', 'owner', 'until', 'next.owner', 'next.token'
)
local function each(next, act)
  local all = redis.call('HGETALL', KEYS[1])
  for at = 1, #all, 2 do
    if (string.sub(all[at], 1, 5) == 'next.') == next then act(all[at], all[at + 1]) end
  end
end
local function drop(name) redis.call('HDEL', KEYS[1], name) end
"""
_HOLDER = "{redis.call('HGETALL', KEYS[1]), redis.call('PTTL', KEYS[1])}"

# ARGV: ttl in ms, token and run to replace, owner, token, hits to count, 'follow' or nothing,
# the call of a follow-up, now, then all fields.
ACQUIRE = Script(f"""{_HELD}
local handed = ARGV[2] ~= '' and held[1] == ARGV[2]
  and (ARGV[3] == '' or not held[2] or held[2] == ARGV[3])
if held[1] == ARGV[5] and not handed then return false end
if held[1] and not handed then
  if ARGV[6] ~= '0' then redis.call('HINCRBY', KEYS[1], 'hits', ARGV[6]) end
  if ARGV[7] == 'follow' then
    for at = 10, #ARGV, 2 do
      local newer = ARGV[8] ~= '' and (ARGV[at] == 'label' or ARGV[at] == 'requester')
      local name = 'next.' .. ARGV[at]
      if newer or not held[5] then redis.call('HSET', KEYS[1], name, ARGV[at + 1]) end
    end
    if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'next.call', ARGV[8]) end
    redis.call('HSETNX', KEYS[1], 'next.ttl', ARGV[1])
    redis.call('HSETNX', KEYS[1], 'seen', ARGV[9])
    local running = redis.call('HGET', KEYS[1], 'phase') == 'running'
    if running and redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
      redis.call('PEXPIRE', KEYS[1], ARGV[1])
    end
  end
  return {_HOLDER}
end
if handed and held[3] == ARGV[4] then
  redis.call('HDEL', KEYS[1], 'run', 'started', 'worker', 'lease', 'sent_back', 'seen')
  local said = {{token = true, phase = true, label = true, requester = true}}
  for at = 10, #ARGV, 2 do
    if said[ARGV[at]] then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
  end
else
  if handed then each(false, drop) end
  redis.call('HSET', KEYS[1], unpack(ARGV, 10))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return false
""")

# ARGV: lease in ms, 'start', 'turn', 'again' or 'renew', owner, token, run, started, worker,
# another token that the lock may have, now, then all fields. The run behind that token is over.
START = Script(f"""{_HELD}
if not held[1] then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1] / 1000, unpack(ARGV, 10))
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return {{'TAKEN'}}
end
if ARGV[8] ~= '' and held[1] == ARGV[8] then
  redis.call('HSET', KEYS[1], 'token', ARGV[4])
  held[1], held[2] = ARGV[4], false
end
local least = 2 * ARGV[1]
if held[1] ~= ARGV[4] and held[6] == ARGV[4] then
  local running = redis.call('HGET', KEYS[1], 'phase') == 'running'
  if running and redis.call('PTTL', KEYS[1]) < 2 * least then
    redis.call('PEXPIRE', KEYS[1], 2 * least)
  end
  return {{'FOLLOWS', {_HOLDER}}}
end
if held[1] ~= ARGV[4] then
  local counted = ARGV[2] == 'start' or ARGV[2] == 'again'
  if counted and held[3] ~= ARGV[3] then redis.call('HINCRBY', KEYS[1], 'hits', 1) end
  return {{'ANOTHER', {_HOLDER}}}
end
local elsewhere = held[2] and held[2] ~= ARGV[5]
local dead = ARGV[2] == 'again' and redis.call('HEXISTS', KEYS[1], 'sent_back') == 1
if elsewhere and not dead then
  if ARGV[2] ~= 'renew' then
    redis.call('HSET', KEYS[1], 'sent_back', '1')
    if redis.call('PTTL', KEYS[1]) < least then redis.call('PEXPIRE', KEYS[1], least) end
  end
  return {{'ELSEWHERE', {_HOLDER}}}
end
redis.call('HDEL', KEYS[1], 'sent_back', 'call')
if held[5] then redis.call('HSET', KEYS[1], 'seen', ARGV[9]) end
if held[2] ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'phase', 'running', 'run', ARGV[5],
             'started', ARGV[6], 'worker', ARGV[7], 'lease', ARGV[1] / 1000)
end
local keeps = held[4] == 'expired' or held[5]
if not keeps or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {{'MINE'}}
""")

_MINE = """
local mine = held[1] == ARGV[1] and (ARGV[2] == '' or not held[2] or held[2] == ARGV[2])
"""

# ARGV: token and run, both empty to release whoever holds it; a token for a follow-up that has
# yet to be published.
RELEASE = Script(f"""{_HELD}{_MINE}
if ARGV[1] ~= '' and not mine then
  if held[6] == ARGV[1] then each(true, drop) end
  return false
end
if not held[1] then return false end
local last = {_HOLDER}
if ARGV[1] == '' or not held[5] then
  redis.call('DEL', KEYS[1])
  return last
end
each(false, drop)
local ttl, call = unpack(redis.call('HMGET', KEYS[1], 'next.ttl', 'next.call'))
each(true, function(name, value)
  if name ~= 'next.ttl' then redis.call('HSET', KEYS[1], string.sub(name, 6), value) end
  drop(name)
end)
if call then redis.call('HSET', KEYS[1], 'token', ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ttl)
return last
""")

# ARGV: token, run, ms to leave.
SHORTEN = Script(f"""{_HELD}{_MINE}
if not mine then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
""")

INSPECT = Script(f"""{_HELD}
if not held[1] then return false end
return {_HOLDER}
""")
