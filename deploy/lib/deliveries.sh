# Topics, notifications, subscriptions and ticks: what the tables of ADR 0001 say, row by row.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

# The address that Cloud Run gives a service is known before the service is there.
function_url() {
  printf 'https://ech0-%s-%s.%s.run.app' "$1" "$NUMBER" "$REGION"
}

# Rows of one kind of what is to be, tab between the cells, an empty cell as `-`.
rows_of() {
  grep "^$1"$'\t' <<<"$WISHES" | cut -f2-
}

plan_topics() {
  local topic
  while read -r topic; do
    ensure "topic $topic" there "free to 10 GB" \
      gcloud pubsub topics create "$topic" --project="$PROJECT"
  done < <(rows_of topic)
}

plan_notifications() {
  local bucket event topic prefix key limit
  while IFS=$'\t' read -r bucket event topic prefix; do
    prefix=${prefix#-} limit=()
    key="notification $bucket $event $topic $prefix"
    if [[ $prefix ]]; then limit=(--object-prefix="$prefix"); fi
    # Whatever is there under this key is as wanted but for the payload, which cannot be changed.
    if [[ ${HAVE["${key% }"]:-} == JSON_API_V1 ]]; then
      planned unchanged "${key% }" free
    else
      planned create "${key% }" free \
        gcloud storage buckets notifications create "gs://$bucket" \
        --topic="projects/$PROJECT/topics/$topic" --event-types="$event" "${limit[@]}" \
        --payload-format=json --skip-topic-setup --project="$PROJECT"
    fi
  done < <(rows_of notification)
}

plan_subscriptions() {
  local name topic filter function ack low high dead attempts days
  while IFS=$'\t' read -r name topic filter function ack low high dead attempts days; do
    filter=${filter#-} function=${function#-} dead=${dead#-}
    local endpoint='' account='' audience='' backoff='-' settings source
    settings=(
      --ack-deadline="$ack" --message-retention-duration="${days}d" --expiration-period=never
    )
    if [[ $function ]]; then
      audience=$(function_url "$function")
      # The path tells functions-framework which topic a message came from.
      endpoint=$audience/projects/$PROJECT/topics/$topic
      account=$PUSH_ACCOUNT
      settings+=(
        --push-endpoint="$endpoint" --push-auth-service-account="$account"
        --push-auth-token-audience="$audience"
      )
    fi
    if ((high)); then
      backoff=${low}s-${high}s
      settings+=(--min-retry-delay="${low}s" --max-retry-delay="${high}s")
    fi
    if [[ $dead ]]; then
      settings+=(--dead-letter-topic="$dead" --max-delivery-attempts="$attempts")
    else
      attempts=''
    fi
    settings+=(--project="$PROJECT")
    source="$topic $filter"
    if is_there "subscription $name" && [[ ${HAVE["source $name"]} != "${source% }" ]]; then
      # Neither topic nor filter can be changed. What waits in the old one is lost with it; the
      # daily tick finds uploads, each minute's tick finds results.
      planned replace "subscription $name (other source)" "free to 10 GB" \
        gcloud pubsub subscriptions delete "$name" --project="$PROJECT"
      unset "HAVE[subscription $name]"
    fi
    if [[ $filter ]]; then filter=--message-filter=$filter; fi
    ensure "subscription $name" \
      "ack=${ack}s retention=$((days * 86400))s expires=never endpoint=$endpoint account=$account audience=$audience backoff=$backoff dead=$dead attempts=$attempts" \
      "free to 10 GB" \
      gcloud pubsub subscriptions create "$name" --topic="$topic" ${filter:+"$filter"} \
      "${settings[@]}" -- \
      gcloud pubsub subscriptions update "$name" "${settings[@]}"
  done < <(rows_of subscription)
}

# A tick is a CloudEvent. Nothing is tried again: the next one is a minute away.
plan_ticks() {
  local name function schedule uri
  while IFS=$'\t' read -r name function schedule; do
    uri=$(function_url "$function")
    local headers="content-type=application/json,ce-specversion=1.0,ce-type=$TICK_TYPE,ce-id=$name,ce-source=//cloudscheduler.googleapis.com/projects/$PROJECT/jobs/$name"
    local settings=(
      --location="$REGION" --schedule="$schedule" --time-zone=Etc/UTC --uri="$uri/"
      --http-method=POST --message-body='{}' --oidc-service-account-email="$PUSH_ACCOUNT"
      --oidc-token-audience="$uri" --max-retry-attempts=0 --attempt-deadline=180s
      --project="$PROJECT"
    )
    ensure "tick $name" \
      "ENABLED $schedule Etc/UTC POST $uri/ type=$TICK_TYPE account=$PUSH_ACCOUNT audience=$uri retries=0 within=180s" \
      "\$0.10 a month" \
      gcloud scheduler jobs create http "$name" --headers="$headers" "${settings[@]}" -- \
      gcloud scheduler jobs update http "$name" --update-headers="$headers" "${settings[@]}"
    if [[ ${HAVE["tick $name"]:-} == PAUSED* ]]; then
      planned update "tick $name (paused)" free \
        gcloud scheduler jobs resume "$name" --location="$REGION" --project="$PROJECT"
    fi
  done < <(rows_of tick)
}
