# The plan: what is there already, what is made or changed, in which order, for how much.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

# One entry per line of the plan. A command is one line of shell; where it needs what an earlier one
# makes, it holds a mark (@IMAGE@, @CHANNEL@) that is resolved when its turn has come.
PLAN_ACTIONS=()
PLAN_NAMES=()
PLAN_COSTS=()
PLAN_COMMANDS=()

# planned ACTION NAME COST [WORD...]: add a line. ACTION: create, update, replace, delete, unchanged.
planned() {
  PLAN_ACTIONS+=("$1")
  PLAN_NAMES+=("$2")
  PLAN_COSTS+=("$3")
  shift 3
  PLAN_COMMANDS+=("$(as_line "$@")")
}

# ensure KEY WANTED COST WORD... [-- WORD...]: create what is not there, change what is otherwise.
#
# HAVE[KEY] is what was found, in the words of deploy/facts.py. The words after `--` change it; the
# words before do both where there are none.
ensure() {
  local key=$1 wanted=$2 cost=$3 create=() update=() word after=''
  shift 3
  for word in "$@"; do
    if [[ $word == -- ]]; then
      after=yes
    elif [[ $after ]]; then
      update+=("$word")
    else
      create+=("$word")
    fi
  done
  if [[ -z ${HAVE[$key]+found} ]]; then
    planned create "$key" "$cost" "${create[@]}"
  elif [[ ${HAVE[$key]} == "$wanted" ]]; then
    planned unchanged "$key" "$cost"
  elif ((${#update[@]})); then
    planned update "$key" "$cost" "${update[@]}"
  else
    planned update "$key" "$cost" "${create[@]}"
  fi
}

# How many lines of the plan have an action that is named.
count_planned() {
  local action name count=0
  for action in "${PLAN_ACTIONS[@]}"; do
    for name in "$@"; do
      if [[ $action == "$name" ]]; then count=$((count + 1)); fi
    done
  done
  printf '%s' "$count"
}

# What stands there costs whether it is used or not: the sum of all costs that are "a month".
print_costs() {
  local i cents=0
  for i in "${!PLAN_COSTS[@]}"; do
    if [[ ${PLAN_COSTS[i]} =~ ^\$([0-9]+)\.([0-9]{2})\ a\ month ]]; then
      cents=$((cents + 100 * BASH_REMATCH[1] + 10#${BASH_REMATCH[2]}))
    fi
  done
  # shellcheck disable=SC2016 # the dollars are dollars
  printf 'It costs about $%d.%02d a month at list price, used or not; then what is stored ($0.02 a GB)\n' \
    $((cents / 100)) $((cents % 100))
  printf 'and trained (jobs started on one UTC day: $%s at most, as estimated). See docs/costs.md.\n' \
    "${TUNER_DAILY_CAP_USD:-50}"
}

print_plan() {
  local i
  for i in "${!PLAN_ACTIONS[@]}"; do
    if [[ ${PLAN_ACTIONS[i]} == unchanged && -z $SHOW_UNCHANGED ]]; then continue; fi
    printf '%-9s  %-52s  %s\n' "${PLAN_ACTIONS[i]}" "${PLAN_NAMES[i]}" "${PLAN_COSTS[i]}"
    if [[ ${PLAN_COMMANDS[i]} ]]; then printf '           %s\n' "${PLAN_COMMANDS[i]}"; fi
  done
  printf '\n%s to create, %s to update, %s to delete, %s unchanged.\n' \
    "$(count_planned create)" "$(count_planned update replace)" "$(count_planned delete)" \
    "$(count_planned unchanged)"
}

# Errors that pass by themselves: Google's services hear of a new account, API or right one by one.
PASSING='does not exist|NOT_FOUND|has not been used|is disabled|SERVICE_DISABLED|ABORTED'
PASSING+='|concurrent policy changes|try again|Permission .* denied on .*service agent'

# Run one command of the plan; its own words are shown only when it fails.
run_planned() {
  local command=$1 tries=0 errors=$LOOK/last-error
  while :; do
    # The words come from as_line: quoted, and nothing of them is expanded a second time.
    if eval "$command" >"$LOOK/last-output" 2>"$errors" </dev/null; then return 0; fi
    tries=$((tries + 1))
    if ((tries >= 8)) || ! grep -qE "$PASSING" "$errors"; then return 1; fi
    sleep "${DEPLOY_RETRY_SECONDS:-10}"
  done
}

# Carry out the plan, line by line. What is done stays done: the next run finds it.
apply_plan() {
  local i command total done_count=0
  total=$(count_planned create update replace delete)
  for i in "${!PLAN_ACTIONS[@]}"; do
    if [[ ${PLAN_ACTIONS[i]} == unchanged ]]; then continue; fi
    done_count=$((done_count + 1))
    printf '[%s/%s] %s %s\n' "$done_count" "$total" "${PLAN_ACTIONS[i]}" "${PLAN_NAMES[i]}"
    command=${PLAN_COMMANDS[i]}
    if [[ $command == *@IMAGE@* ]]; then
      image_digest
      command=${command//@IMAGE@/$IMAGE}
    fi
    if [[ $command == *@CHANNEL@* ]]; then
      channel_name
      command=${command//@CHANNEL@/$CHANNEL}
    fi
    if [[ $command == 'gcloud functions deploy '* && -z ${COMPILED:-} ]]; then
      compile_sources
      COMPILED=yes
    fi
    if ! run_planned "$command"; then
      printf '\n%s\n\n' "$command" >&2
      sed 's/^/  /' "$LOOK/last-error" >&2
      stop "${PLAN_ACTIONS[i]} ${PLAN_NAMES[i]} failed; everything before it is done." \
        "Put right what Google says above, then run the same command again: it goes on here."
    fi
  done
}
