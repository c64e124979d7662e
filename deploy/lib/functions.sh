# The three functions: own account each, called by one account only, bounded in size and number.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

TICK_TYPE=ech0.tuner.tick.v1

# Function, what is called in main.py, memory, instances at most, requests at a time in one.
#
# A conversion fills a processor, so an instance does one at a time. Passes of the submitter wait for
# Google most of the time, and one of them works while the others find it locked.
FUNCTIONS=(
  "converter convert 1Gi 5 1"
  "submitter submit 512Mi 2 8"
  "completion complete 1Gi 2 4"
)

# What the functions are told, as NAME=value; a setting that is not decided keeps its default.
function_settings() {
  printf '%s\n' "TUNER_PROJECT=$PROJECT" "TUNER_BUCKET_PREFIX=$PREFIX" "TUNER_DEPLOYMENT=$PREFIX" \
    "TUNER_REGIONS=$TUNER_REGIONS" "TUNER_TRAINER_IMAGE=@IMAGE@" \
    "TUNER_TRAINING_SERVICE_ACCOUNT=$(account_email ech0-vertex-training)"
  local name
  for name in TUNER_PRESET TUNER_CONTACT TUNER_DAILY_CAP_USD TUNER_MAX_ATTEMPTS \
    TUNER_MAX_UPLOAD_BYTES TUNER_KEEP_DAYS TUNER_ORDERED_EVENTS; do
    if [[ ${!name} ]]; then printf '%s=%s\n' "$name" "${!name}"; fi
  done
}

plan_functions() {
  local entry name target memory instances at_a_time settings config image
  settings=$(function_settings | paste -sd ';' -)
  image="not built"
  if is_there "image $IMAGE_TAG"; then image=$REGISTRY/trainer@${HAVE["image $IMAGE_TAG"]}; fi
  for entry in "${FUNCTIONS[@]}"; do
    read -r name target memory instances at_a_time <<<"$entry"
    local flags=(
      --gen2 --region="$REGION" --runtime=python311 --entry-point="$target" --trigger-http --no-allow-unauthenticated
      --ingress-settings=internal-only --run-service-account="$(account_email "ech0-$name")"
      --build-service-account="projects/$PROJECT/serviceAccounts/$(account_email ech0-build)"
      --docker-repository="projects/$PROJECT/locations/$REGION/repositories/$REPOSITORY"
      --memory="$memory" --cpu=1 --timeout=590s --min-instances=0 --max-instances="$instances"
      --concurrency="$at_a_time" --set-env-vars="^;^$settings"
    )
    config=$(printf '%s\n' "${flags[*]}" "${WISH[$name]}" | cksum | tr -d ' ')
    flags+=(--source="$STAGED/$name" --update-labels="ech0-config=$config" --project="$PROJECT")
    ensure "function ech0-$name" \
      "state=ACTIVE account=$(account_email "ech0-$name") ingress=ALLOW_INTERNAL_ONLY config=$config image=$image" \
      "free to 180,000 CPU seconds" \
      gcloud functions deploy "ech0-$name" "${flags[@]}"
  done
}
