# What is there: every question is asked once, several at a time, and nothing is changed.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

declare -A HAVE=()
ENABLED=''

# In how many questions gcloud may be busy at a time; each takes a second or two, mostly waiting.
AT_A_TIME=8

# ask KIND NAME WORD...: store gcloud's answer as KIND@NAME.json, in the background.
ask() {
  local file=$LOOK/$1@${2//\//+}
  shift 2
  while (($(jobs -rp | wc -l) >= AT_A_TIME)); do wait -n || true; done
  {
    if ! "$@" --format=json >"$file.json" 2>"$file.error"; then
      as_line "$@" >"$file.failed"
    fi
  } </dev/null &
}

# Wait for all answers and read them into HAVE. A question without an answer ends the run: what is
# not known to be there must not be made a second time.
hear() {
  local failed file key words
  wait
  for failed in "$LOOK"/*.failed; do
    [[ -e $failed ]] || continue
    file=${failed%.failed}
    if [[ ${file##*/} == budgets@* ]]; then
      # Who may not read budgets may not make them either; nothing else depends on it.
      rm "$failed" && rm -f "$file.json"
      BUDGETS_UNREADABLE=yes
      continue
    fi
    printf '%s\n' "$(cat "$failed")" >&2
    sed 's/^/  /' "$file.error" >&2
    stop "what is there could not be read." \
      "Mostly a right is missing: your account needs roles/owner, or what docs/deploy.md lists." \
      "Nothing was changed."
  done
  HAVE=()
  while IFS=$'\t' read -r key words; do
    HAVE[$key]=$words
  done < <("${PYTHON[@]}" "$ROOT/deploy/facts.py" "$LOOK")
}

is_enabled() {
  [[ " $ENABLED " == *" $1.googleapis.com "* ]]
}

# Whether a resource was found.
is_there() {
  [[ ${HAVE[$1]+found} ]]
}

# Look at everything that deploy.sh makes. Without an API there is nothing of its kind.
look() {
  local in=(--project="$PROJECT") place
  if ! ENABLED=$(gcloud services list --enabled --format='value(config.name)' "${in[@]}" \
    2>"$LOOK/error"); then
    stop "which APIs are enabled cannot be read: $(tail -n 1 "$LOOK/error")" \
      "Your account needs roles/owner, or what docs/deploy.md lists. Nothing was changed."
  fi
  ENABLED=${ENABLED//$'\n'/ }
  ask policy project gcloud projects get-iam-policy "$PROJECT"
  ask buckets all gcloud storage buckets list --raw "${in[@]}"
  if is_enabled iam; then ask accounts all gcloud iam service-accounts list "${in[@]}"; fi
  if is_enabled pubsub; then
    ask topics all gcloud pubsub topics list "${in[@]}"
    ask subscriptions all gcloud pubsub subscriptions list "${in[@]}"
  fi
  if is_enabled cloudfunctions; then
    ask functions all gcloud functions list --v2 --regions="$REGION" "${in[@]}"
  fi
  if is_enabled cloudscheduler; then
    ask ticks all gcloud scheduler jobs list --location="$REGION" "${in[@]}"
  fi
  if is_enabled artifactregistry; then
    ask repositories all gcloud artifacts repositories list --location="$REGION" "${in[@]}"
  fi
  if is_enabled logging; then
    ask metrics all gcloud logging metrics list "${in[@]}"
    ask sinks all gcloud logging sinks list "${in[@]}"
    ask logbuckets all gcloud logging buckets list --location="$REGION" "${in[@]}"
  fi
  if is_enabled monitoring; then
    ask alerts all gcloud alpha monitoring policies list "${in[@]}"
    ask channels all gcloud beta monitoring channels list "${in[@]}"
    ask dashboards all gcloud monitoring dashboards list "${in[@]}"
  fi
  if is_enabled billingbudgets && [[ $DEPLOY_MONTHLY_BUDGET != off ]]; then
    ask budgets all gcloud billing budgets list --billing-account="$BILLING_ACCOUNT" "${in[@]}"
  fi
  if [[ $MODE == destroy ]] && is_enabled aiplatform; then
    for place in ${TUNER_REGIONS//,/ }; do
      ask jobs "$place" gcloud ai custom-jobs list --region="$place" \
        --filter="labels.deployment=$PREFIX AND state:(JOB_STATE_QUEUED JOB_STATE_PENDING JOB_STATE_RUNNING)" \
        "${in[@]}"
    done
  fi
  hear
  look_closer "${in[@]}"
  hear
}

# What only resources that are there can be asked: who may use them, and what they hold.
look_closer() {
  local in=("$@") key name
  for key in "${!HAVE[@]}"; do
    name=${key#* }
    case $key in
    "bucket $PREFIX-training-data" | "bucket $PREFIX-work" | "bucket $PREFIX-models" | "bucket $PREFIX-runs")
      ask policy "$key" gcloud storage buckets get-iam-policy "gs://$name" "${in[@]}"
      ask notifications "$name" \
        gcloud storage buckets notifications list "gs://$name" "${in[@]}"
      if [[ $MODE == destroy ]]; then
        ask contents "$name" gcloud storage objects list "gs://$name/**" --limit=1 "${in[@]}"
      fi
      ;;
    "topic storage-events" | "topic training-requests" | "topic run-events" | "topic dead-letters")
      ask policy "$key" gcloud pubsub topics get-iam-policy "$name" "${in[@]}"
      ;;
    "subscription converter" | "subscription submitter" | "subscription completion")
      ask policy "$key" gcloud pubsub subscriptions get-iam-policy "$name" "${in[@]}"
      ;;
    "account ech0-push@$PROJECT."* | "account ech0-vertex-training@$PROJECT."*)
      ask policy "$key" gcloud iam service-accounts get-iam-policy "$name" "${in[@]}"
      ;;
    "function ech0-converter" | "function ech0-submitter" | "function ech0-completion")
      ask policy "service ${name#ech0-}" \
        gcloud run services get-iam-policy "$name" --region="$REGION" "${in[@]}"
      ;;
    "repository $REPOSITORY")
      ask policy repository gcloud artifacts repositories get-iam-policy "$name" \
        --location="$REGION" "${in[@]}"
      ask images all gcloud artifacts docker tags list "$REGISTRY/trainer" "${in[@]}"
      ;;
    esac
  done
}
