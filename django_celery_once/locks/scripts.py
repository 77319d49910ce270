"""The Lua scripts of the lock store in Redis: one for each verb, each on one key."""

from __future__ import annotations

import hashlib


class Script:
    """A script's text and the digest by which EVALSHA knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# Every script reads the fields that decide, and answers a refusal with the holder's
# whole record: [fields, milliseconds left].
_HELD = "local held = redis.call('HMGET', KEYS[1], 'token', 'run', 'owner', 'until')\n"
_HOLDER = "{redis.call('HGETALL', KEYS[1]), redis.call('PTTL', KEYS[1])}"

# ARGV: ttl in ms, token and run to replace, owner, token, hits to count, then all fields.
ACQUIRE = Script(f"""{_HELD}
local handed = ARGV[2] ~= '' and held[1] == ARGV[2]
  and (ARGV[3] == '' or not held[2] or held[2] == ARGV[3])
if held[1] == ARGV[5] and not handed then return false end
if held[1] and not handed then
  if ARGV[6] ~= '0' then redis.call('HINCRBY', KEYS[1], 'hits', ARGV[6]) end
  return {_HOLDER}
end
if handed and held[3] == ARGV[4] then
  redis.call('HDEL', KEYS[1], 'run', 'started', 'worker', 'lease', 'sent_back')
  local said = {{token = true, phase = true, label = true, requester = true}}
  for at = 7, #ARGV, 2 do
    if said[ARGV[at]] then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
  end
else
  if handed then redis.call('DEL', KEYS[1]) end
  redis.call('HSET', KEYS[1], unpack(ARGV, 7))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return false
""")

# ARGV: lease in ms, 'start', 'turn', 'again' or 'renew', owner, token, run, started, worker,
# another token that the lock may have, then all fields. The run behind that token is over.
START = Script(f"""{_HELD}
if not held[1] then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1] / 1000, unpack(ARGV, 9))
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return {{'TAKEN'}}
end
if ARGV[8] ~= '' and held[1] == ARGV[8] then
  redis.call('HSET', KEYS[1], 'token', ARGV[4])
  held = {{ARGV[4], false, held[3], held[4]}}
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
    local least = 2 * ARGV[1]
    if redis.call('PTTL', KEYS[1]) < least then redis.call('PEXPIRE', KEYS[1], least) end
  end
  return {{'ELSEWHERE', {_HOLDER}}}
end
redis.call('HDEL', KEYS[1], 'sent_back')
if held[2] ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'phase', 'running', 'run', ARGV[5],
             'started', ARGV[6], 'worker', ARGV[7], 'lease', ARGV[1] / 1000)
end
if held[4] ~= 'expired' or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {{'MINE'}}
""")

_MINE = """
local mine = held[1] == ARGV[1] and (ARGV[2] == '' or not held[2] or held[2] == ARGV[2])
"""

# ARGV: token and run, both empty to release whoever holds it.
RELEASE = Script(f"""{_HELD}{_MINE}
if not held[1] or (ARGV[1] ~= '' and not mine) then return false end
local last = {_HOLDER}
redis.call('DEL', KEYS[1])
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
