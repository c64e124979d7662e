# Taking a deployment away: everything that deploy.sh makes, and data only when it is asked for twice.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

# Every line is made from what was found, so that a deployment that was half made goes as well.
plan_destroy() {
  local in=(--project="$PROJECT") key place name
  plan_stop
  for key in "${!HAVE[@]}"; do
    if [[ $key == job\ * ]]; then
      read -r _ place name <<<"$key"
      planned delete "$key (cancel)" "-" \
        gcloud ai custom-jobs cancel "$name" --region="$place" "${in[@]}"
    fi
  done
  plan_destroy_functions "${in[@]}"
  plan_destroy_watch "${in[@]}"
  plan_destroy_rights
  plan_destroy_rest "${in[@]}"
}

# What starts anything goes first: ticks and subscriptions.
plan_stop() {
  local in=(--project="$PROJECT") name bucket key
  while IFS=$'\t' read -r name _; do
    if is_there "tick $name"; then
      planned delete "tick $name" "-" \
        gcloud scheduler jobs delete "$name" --location="$REGION" "${in[@]}"
    fi
  done < <(rows_of tick)
  while IFS=$'\t' read -r name _; do
    if is_there "subscription $name"; then
      planned delete "subscription $name" "-" gcloud pubsub subscriptions delete "$name" "${in[@]}"
    fi
  done < <(rows_of subscription)
  for key in "${!HAVE[@]}"; do
    if [[ $key == notification-id\ notification\ $PREFIX-*\ storage-events* ]]; then
      read -r _ _ bucket _ <<<"$key"
      planned delete "${key#notification-id }" "-" gcloud storage buckets notifications delete \
        "projects/_/buckets/$bucket/notificationConfigs/${HAVE[$key]}" "${in[@]}"
    fi
  done
}

plan_destroy_functions() {
  local entry
  for entry in "${FUNCTIONS[@]}"; do
    if is_there "function ech0-${entry%% *}"; then
      planned delete "function ech0-${entry%% *}" "-" \
        gcloud functions delete "ech0-${entry%% *}" --gen2 --region="$REGION" "$@"
    fi
  done
}

plan_destroy_watch() {
  local in=("$@") key name
  # Alerts before the channel and the metrics that they use.
  for key in "${!HAVE[@]}"; do
    if [[ $key == alert-name\ * ]]; then
      planned delete "alert ${key#* }" "-" \
        gcloud alpha monitoring policies delete "${HAVE[$key]}" "${in[@]}"
    fi
  done
  if is_there "dashboard ech0-tuner"; then
    planned delete "dashboard ech0-tuner" "-" \
      gcloud monitoring dashboards delete "${HAVE["dashboard-name ech0-tuner"]}" "${in[@]}"
  fi
  for key in "${!HAVE[@]}"; do
    if [[ $key == channel-name\ * ]]; then
      planned delete "channel ${key#* }" "-" \
        gcloud beta monitoring channels delete "${HAVE[$key]}" "${in[@]}"
    fi
  done
  for name in "$WATCH"/metrics/*.yaml; do
    name=$(basename "$name" .yaml)
    if is_there "metric $name"; then
      planned delete "metric $name" "-" gcloud logging metrics delete "$name" "${in[@]}"
    fi
  done
  if is_there "sink $JOB_LOGS"; then
    planned delete "sink $JOB_LOGS" "-" gcloud logging sinks delete "$JOB_LOGS" "${in[@]}"
  fi
  if is_there "log-bucket $JOB_LOGS"; then
    planned delete "log-bucket $JOB_LOGS" "-" \
      gcloud logging buckets delete "$JOB_LOGS" --location="$REGION" "${in[@]}"
  fi
  if is_there "budget ech0-tuner $PROJECT"; then
    planned delete "budget ech0-tuner $PROJECT" "-" \
      gcloud billing budgets delete "${HAVE["budget-name ech0-tuner $PROJECT"]}" \
      --billing-account="$BILLING_ACCOUNT" "${in[@]}"
  fi
}

# Rights on what stays: on the project, and on buckets that hold data. The others go with their
# resource. Afterwards an account of the same name would be another one.
plan_destroy_rights() {
  local bucket
  take_rights project
  for bucket in "${BUCKETS[@]}"; do
    if is_there "contents $PREFIX-$bucket"; then take_rights "bucket $PREFIX-$bucket"; fi
  done
}

plan_destroy_rest() {
  local in=("$@") entry name bucket
  if is_there "repository $REPOSITORY"; then
    planned delete "repository $REPOSITORY" "-" gcloud artifacts repositories delete \
      "$REPOSITORY" --location="$REGION" "${in[@]}"
  fi
  for bucket in "${BUCKETS[@]}"; do
    if is_there "bucket $PREFIX-$bucket" && ! is_there "contents $PREFIX-$bucket"; then
      planned delete "bucket $PREFIX-$bucket (empty)" "-" \
        gcloud storage buckets delete "gs://$PREFIX-$bucket" "${in[@]}"
    fi
  done
  while read -r name; do
    if is_there "topic $name"; then
      planned delete "topic $name" "-" gcloud pubsub topics delete "$name" "${in[@]}"
    fi
  done < <(rows_of topic)
  for entry in "${ACCOUNTS[@]}"; do
    name=$(account_email "${entry%%|*}")
    if is_there "account $name"; then
      planned delete "account $name" "-" gcloud iam service-accounts delete "$name" "${in[@]}"
    fi
  done
}

# The buckets that hold data, once everything else is gone. Typing the words is the only way.
destroy_data() {
  local bucket answer='' words="delete all data of $PREFIX" held=()
  for bucket in "${BUCKETS[@]}"; do
    if is_there "contents $PREFIX-$bucket"; then held+=("gs://$PREFIX-$bucket"); fi
  done
  if ((${#held[@]} == 0)); then return; fi
  say "" "These buckets hold data and are still there: ${held[*]}"
  if [[ -t 0 || -n ${DEPLOY_ANSWERS_FROM_STDIN:-} ]]; then
    read -r -p "To delete uploads, datasets, adapters and records for good, type: $words
> " answer || true
  fi
  if [[ $answer != "$words" ]]; then
    say "They are kept. ./deploy.sh --project $PROJECT --destroy asks again."
    return
  fi
  PLAN_ACTIONS=() PLAN_NAMES=() PLAN_COSTS=() PLAN_COMMANDS=()
  for bucket in "${held[@]}"; do
    planned delete "bucket ${bucket#gs://} and all that it holds" "-" \
      gcloud storage rm "$bucket" --recursive --project="$PROJECT"
  done
  apply_plan
}
