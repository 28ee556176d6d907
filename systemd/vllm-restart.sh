#!/bin/sh
# Restarts vLLM where vllm-vitals is certain that this helps, and leaves it alone where that only may be.
#
#   vllm-restart.sh when-hung      asks until the engine has hung for HUNG_SECONDS on end, then has it restarted
#   vllm-restart.sh when-leaking   has it restarted in the quiet hours before its memory fills the card
#   vllm-restart.sh restart        sends the traffic away, lets requests finish, restarts, takes the traffic back
#   vllm-restart.sh wait-gpu-free  waits until no process of the unit is on a GPU any more
#
# Exit status: 0 when there was nothing to do, or all of it was done; 1 when it could not be found out or not be
# done, and the log says why. What the daemon does not say is never taken for zero. Needs curl and awk.
set -u

: "${VITALS_URL:=http://127.0.0.1:19400}"
: "${VITALS_TARGET:=vllm}"                   # the name of the target in the daemon's configuration
: "${VLLM_UNIT:=vllm.service}"
: "${RESTART_UNIT:=vllm-restart.service}"    # carries the limit on how many restarts there are
: "${HUNG_SECONDS:=120}"                     # beyond the 25 s after which the daemon is certain
: "${POLL_SECONDS:=10}"
: "${VLLM_GPUS:=}"                           # positions such as "0 1" where others use the other cards; empty: all
: "${FULL_URGENT_SECONDS:=3600}"             # full so soon: whatever the hour
: "${FULL_SOON_SECONDS:=93600}"              # 26 h: it may be full before the next quiet hours are over
: "${QUIET_FROM:=2}"                         # hours of local time, the second one excluded
: "${QUIET_TO:=5}"
: "${DRAIN_COMMAND:=}"                       # sends new requests elsewhere; empty: nobody can, and none is waited for
: "${UNDRAIN_COMMAND:=}"
: "${DRAIN_SECONDS:=120}"
: "${GONE_SECONDS:=60}"
: "${SERVING_SECONDS:=2700}"                 # the longest load of the model
: "${EVIDENCE_COMMAND:=}"                    # what to keep of a hang before it is gone, such as py-spy dump
: "${PROC_ROOT:=/proc}"

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
now() { date +%s; }

page() { curl -fsS --max-time 5 "$VITALS_URL/metrics"; }

# The state of the target on a page, or nothing where the page does not have it.
state_on() {
  awk -v target="target=\"$VITALS_TARGET\"" '
    /^vllm_vitals_engine_state\{/ && index($0, target) && $NF == 1 {
      if (match($0, /state="[a-z]+"/)) print substr($0, RSTART + 7, RLENGTH - 8)
    }'
}

# The state, or "unreachable" or "absent".
state() {
  _page=$(page) || { say unreachable; return; }
  _state=$(say "$_page" | state_on)
  say "${_state:-absent}"
}

# How many requests are inside, or nothing where that is not known.
inside() {
  page | awk -v target="target=\"$VITALS_TARGET\"" '
    /^vllm_vitals_requests_(running|waiting)\{/ && index($0, target) { sum += $NF; seen = 1 }
    END { if (seen) printf "%d\n", sum }'
}

# In how many seconds the first of the cards is full, or nothing where none grows for certain. A card counts when
# what grows there is of vLLM, by the names of its processes, or when no process can be told.
seconds_to_full() {
  awk -v gpus=" $VLLM_GPUS " '
    function label(name) {
      return match($0, "[{,]" name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : ""
    }
    function wanted(gpu) { return gpus ~ /^ *$/ || index(gpus, " " gpu " ") }
    /^vllm_vitals_gpu_memory_growth_bytes_per_second\{/ && wanted(label("gpu")) {
      process = label("process")
      if (process == "" || tolower(process) ~ /^(vllm|python|ray::)/) ours[label("gpu")] = 1
    }
    /^vllm_vitals_gpu_memory_seconds_to_full\{/ && $NF ~ /^[0-9]/ { left[label("gpu")] = $NF + 0 }
    END {
      for (gpu in left) if ((gpu in ours) && (!found || left[gpu] < least)) { least = left[gpu]; found = 1 }
      if (found) printf "%d\n", least
    }'
}

quiet_hour() {
  _hour=$(date +%H)
  if [ "$QUIET_FROM" -le "$QUIET_TO" ]; then
    [ "$_hour" -ge "$QUIET_FROM" ] && [ "$_hour" -lt "$QUIET_TO" ]
  else
    [ "$_hour" -ge "$QUIET_FROM" ] || [ "$_hour" -lt "$QUIET_TO" ]
  fi
}

have_restarted() {
  systemctl start "$RESTART_UNIT" || fail "$RESTART_UNIT was not started or failed: after too many restarts it is refused, and a person has to look"
}

when_hung() {
  began=$(now)
  asked=0
  while :; do
    state=$(state)
    asked=$((asked + 1))
    case $state in
      stalled) ;;
      unreachable) fail "vllm-vitals does not answer at $VITALS_URL: nothing is known, nothing is done" ;;
      absent) fail "vllm-vitals has no target $VITALS_TARGET: nothing is done" ;;
      *)
        [ "$asked" -eq 1 ] || say "$VITALS_TARGET is $state again: nothing is done"
        exit 0
        ;;
    esac
    # Whole seconds are counted, so that one more has to pass than is shown.
    [ $(($(now) - began)) -le "$HUNG_SECONDS" ] || break
    sleep "$POLL_SECONDS"
  done
  say "$VITALS_TARGET has hung for $HUNG_SECONDS s and more, at each of $asked looks; it is restarted. What the daemon says:"
  curl -sS --max-time 5 -H 'Accept: text/plain' "$VITALS_URL/health?target=$VITALS_TARGET" || say "nothing"
  if [ -n "$EVIDENCE_COMMAND" ]; then sh -c "$EVIDENCE_COMMAND" || say "the evidence could not be taken"; fi
  have_restarted
}

when_leaking() {
  page=$(page) || fail "vllm-vitals does not answer at $VITALS_URL: nothing is known, nothing is done"
  left=$(say "$page" | seconds_to_full)
  [ -n "$left" ] || exit 0
  state=$(say "$page" | state_on)
  case $state in
    serving | idle) ;;
    *)
      say "the card is full in $left s, but $VITALS_TARGET is ${state:-of no known state}: nothing is done"
      exit 0
      ;;
  esac
  if [ "$left" -le "$FULL_URGENT_SECONDS" ]; then
    say "the card is full in $left s: $VITALS_TARGET is restarted at once"
  elif [ "$left" -le "$FULL_SOON_SECONDS" ] && quiet_hour; then
    say "the card is full in $left s: $VITALS_TARGET is restarted in the quiet hours"
  else
    say "the card is full in $left s: there is time yet"
    exit 0
  fi
  have_restarted
}

drain() {
  [ -n "$DRAIN_COMMAND" ] || return 0
  sh -c "$DRAIN_COMMAND" || { say "the traffic could not be sent away"; return 0; }
  end=$(($(now) + DRAIN_SECONDS))
  while [ "$(now)" -lt "$end" ]; do
    left=$(inside)
    [ "$left" != 0 ] || { say "all requests have finished"; return 0; }
    sleep 1
  done
  say "after $DRAIN_SECONDS s ${left:-an unknown number of} requests are inside: they are not waited for any longer"
}

undrain() {
  [ -z "$UNDRAIN_COMMAND" ] || sh -c "$UNDRAIN_COMMAND" || fail "the traffic was not taken back: $UNDRAIN_COMMAND"
}

# Waits $1 seconds at most until the state is one of $2.
await() {
  end=$(($(now) + $1))
  while [ "$(now)" -lt "$end" ]; do
    state | grep -qxE "$2" && return 0
    sleep "$POLL_SECONDS"
  done
  return 1
}

restart() {
  case $(state) in
    # What hangs finishes nothing: to wait for its requests, or for its shutdown, is time lost.
    stalled) systemctl kill --signal=KILL "$VLLM_UNIT" || say "$VLLM_UNIT was not killed" ;;
    *) drain ;;
  esac
  systemctl restart "$VLLM_UNIT" || { undrain; fail "$VLLM_UNIT was not restarted"; }
  # What the daemon says now may still be of the server before; a load takes longer than two scrapes.
  await "$GONE_SECONDS" 'loading|down|unknown|stalled' || say "the daemon has not seen $VITALS_TARGET go"
  if await "$SERVING_SECONDS" 'serving|idle'; then
    say "$VITALS_TARGET serves again"
    undrain
    exit 0
  fi
  undrain
  fail "$VITALS_TARGET does not serve $SERVING_SECONDS s after its restart"
}

wait_gpu_free() {
  end=$(($(now) + 60))
  while [ "$(now)" -lt "$end" ]; do
    pids=$(nvidia-smi --query-compute-apps=pid --format=csv,noheader) || fail "nvidia-smi failed: nobody knows whether the GPUs are free"
    left=
    for pid in $pids; do
      if grep -qs "/$VLLM_UNIT" "$PROC_ROOT/$pid/cgroup"; then left="$left $pid"; fi
    done
    [ -n "$left" ] || exit 0
    sleep 1
  done
  fail "still on a GPU after 60 s, and not to be killed:$left"
}

case ${1:-} in
  when-hung) when_hung ;;
  when-leaking) when_leaking ;;
  restart) restart ;;
  wait-gpu-free) wait_gpu_free ;;
  *) fail "expected when-hung, when-leaking, restart or wait-gpu-free, found ${1:-nothing}" ;;
esac
