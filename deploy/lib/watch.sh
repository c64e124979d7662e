# What tells a person: alarms as a metric, alert policies, jobs' logs, a budget, a dashboard.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

WATCH=deploy/watch
JOB_LOGS=ech0-jobs

# Write a file of deploy/watch with this deployment's names; its hash stands in the place of @HASH@.
# Sets RENDERED and RENDERED_HASH.
render() {
  local text
  RENDERED=$BUILD/watch/${1//\//-}
  text=$(<"$WATCH/$1")
  text=${text//@PROJECT@/$PROJECT}
  text=${text//@PREFIX@/$PREFIX}
  text=${text//@REGION@/$REGION}
  RENDERED_HASH=$(printf '%s' "$text" | cksum | tr -d ' ')
  mkdir -p "$BUILD/watch"
  printf '%s\n' "${text//@HASH@/$RENDERED_HASH}" >"$RENDERED"
}

plan_metrics() {
  local file name
  for file in "$WATCH"/metrics/*.yaml; do
    name=$(basename "$file" .yaml)
    render "metrics/$name.yaml"
    ensure "metric $name" "$RENDERED_HASH" free \
      gcloud logging metrics create "$name" --config-from-file="$RENDERED" --project="$PROJECT" -- \
      gcloud logging metrics update "$name" --config-from-file="$RENDERED" --project="$PROJECT"
  done
}

plan_job_logs() {
  local destination=logging.googleapis.com/projects/$PROJECT/locations/$REGION/buckets/$JOB_LOGS
  local filter='resource.type="ml_job"'
  ensure "log-bucket $JOB_LOGS" "${DEPLOY_JOB_LOG_DAYS}d" "\$0.01 per GB after 30 days" \
    gcloud logging buckets create "$JOB_LOGS" --location="$REGION" \
    --retention-days="$DEPLOY_JOB_LOG_DAYS" --project="$PROJECT" -- \
    gcloud logging buckets update "$JOB_LOGS" --location="$REGION" \
    --retention-days="$DEPLOY_JOB_LOG_DAYS" --project="$PROJECT"
  ensure "sink $JOB_LOGS" "$destination $filter" "\$0.50 per GB" \
    gcloud logging sinks create "$JOB_LOGS" "$destination" --log-filter="$filter" \
    --project="$PROJECT" -- \
    gcloud logging sinks update "$JOB_LOGS" "$destination" --log-filter="$filter" \
    --project="$PROJECT"
}

plan_alerts() {
  local file name channel='' create=() update=()
  if [[ $TUNER_CONTACT ]]; then
    ensure "channel $TUNER_CONTACT" there free \
      gcloud beta monitoring channels create --display-name="ech0-tuner" --type=email \
      --channel-labels="email_address=$TUNER_CONTACT" --user-labels=ech0=contact \
      --project="$PROJECT"
    channel=${HAVE["channel-name $TUNER_CONTACT"]:-@CHANNEL@}
    create=(--notification-channels=@CHANNEL@)
    update=(--set-notification-channels=@CHANNEL@)
  fi
  for file in "$WATCH"/alerts/*.json; do
    name=$(basename "$file" .json)
    render "alerts/$name.json"
    ensure "alert $name" "$RENDERED_HASH${channel:+ }$channel" "\$1.50 a month" \
      gcloud alpha monitoring policies create --policy-from-file="$RENDERED" "${create[@]}" \
      --project="$PROJECT" -- \
      gcloud alpha monitoring policies update "${HAVE["alert-name $name"]:-}" \
      --policy-from-file="$RENDERED" "${update[@]}" --project="$PROJECT"
  done
}

# Where alerts go. Sets CHANNEL; the channel must have been made.
channel_name() {
  CHANNEL=${HAVE["channel-name $TUNER_CONTACT"]:-${CHANNEL:-}}
  if [[ $CHANNEL ]]; then return; fi
  CHANNEL=$(gcloud beta monitoring channels list --limit=1 --format='value(name)' \
    --filter="userLabels.ech0=contact AND labels.email_address=\"$TUNER_CONTACT\"" \
    --project="$PROJECT" 2>"$LOOK/error") || CHANNEL=''
  if [[ -z $CHANNEL ]]; then
    stop "the notification channel of $TUNER_CONTACT cannot be read." \
      "$(tail -n 2 "$LOOK/error")" "Run the same command again."
  fi
}

plan_dashboard() {
  render dashboard.json
  ensure "dashboard ech0-tuner" "$RENDERED_HASH" free \
    gcloud monitoring dashboards create --config-from-file="$RENDERED" --project="$PROJECT" -- \
    gcloud monitoring dashboards update "${HAVE["dashboard-name ech0-tuner"]:-}" \
    --config-from-file="$RENDERED" --project="$PROJECT"
}

plan_budget() {
  local name="ech0-tuner $PROJECT" amount=$DEPLOY_MONTHLY_BUDGET
  if [[ $amount == off ]]; then return; fi
  if [[ ${BUDGETS_UNREADABLE:-} ]]; then
    NOTES+=("No budget alert: your account may not read the budgets of billing account $BILLING_ACCOUNT. Have somebody run this again who has roles/billing.costsManager on it, or set DEPLOY_MONTHLY_BUDGET=off.")
    return
  fi
  ensure "budget $name" "$amount" free \
    gcloud billing budgets create --billing-account="$BILLING_ACCOUNT" --display-name="$name" \
    --budget-amount="$amount" --filter-projects="projects/$PROJECT" \
    --threshold-rule=percent=0.5 --threshold-rule=percent=0.9 --threshold-rule=percent=1.0 \
    --project="$PROJECT" -- \
    gcloud billing budgets update "${HAVE["budget-name $name"]:-}" \
    --billing-account="$BILLING_ACCOUNT" --budget-amount="$amount" --project="$PROJECT"
}
