# What a deployment is: read from flags, the environment and deploy.env, in that order of weight.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

# Every name that deploy.env may set; deploy.env.example explains them.
SETTING_NAMES=(
  TUNER_PROJECT TUNER_BUCKET_PREFIX TUNER_REGIONS TUNER_PRESET TUNER_CONTACT TUNER_DAILY_CAP_USD
  TUNER_MAX_ATTEMPTS TUNER_MAX_UPLOAD_BYTES TUNER_KEEP_DAYS TUNER_ORDERED_EVENTS
  DEPLOY_REGION DEPLOY_UPLOADERS DEPLOY_MONTHLY_BUDGET DEPLOY_JOB_LOG_DAYS
)

# Read NAME=VALUE lines. Nothing of the file is executed.
read_settings_file() {
  local file=$1 line number=0 name value known
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    if [[ $line =~ ^[[:space:]]*(#|$) ]]; then continue; fi
    if [[ ! $line =~ ^([A-Z_]+)=(.*)$ ]]; then
      stop "$file:$number is not NAME=value: $line" "See deploy.env.example."
    fi
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then value=${BASH_REMATCH[1]}; fi
    known=''
    for known in "${SETTING_NAMES[@]}"; do
      if [[ $known == "$name" ]]; then break; fi
    done
    if [[ $known != "$name" ]]; then
      stop "$file:$number sets $name, which is no setting of a deployment." \
        "deploy.env.example lists them all."
    fi
    if [[ -z ${!name+set} ]]; then printf -v "$name" '%s' "$value"; fi
  done <"$file"
}

SETTINGS_PROBLEMS=()

# must_match NAME VALUE PATTERN WORDS: note a problem when it does not.
must_match() {
  if [[ ! $2 =~ ^($3)$ ]]; then SETTINGS_PROBLEMS+=("$1 is '$2'; it must be $4."); fi
}

# Defaults and checks. The patterns are those of functions/tuner/settings.py.
settle_settings() {
  : "${TUNER_PROJECT:=}" "${TUNER_BUCKET_PREFIX:=$TUNER_PROJECT}" "${TUNER_CONTACT:=}"
  : "${DEPLOY_REGION:=us-central1}" "${TUNER_REGIONS:=$DEPLOY_REGION}" "${TUNER_PRESET:=}"
  : "${TUNER_DAILY_CAP_USD:=}" "${TUNER_MAX_ATTEMPTS:=}" "${TUNER_MAX_UPLOAD_BYTES:=}"
  : "${TUNER_KEEP_DAYS:=}" "${TUNER_ORDERED_EVENTS:=}" "${DEPLOY_UPLOADERS:=}" "${DEPLOY_MONTHLY_BUDGET:=100}"
  : "${DEPLOY_JOB_LOG_DAYS:=90}"
  if [[ -z $TUNER_PROJECT ]]; then
    stop "no project." "Say --project PROJECT_ID, or set TUNER_PROJECT in deploy.env."
  fi
  if [[ $MODE == plan ]]; then
    # A plan can be read for a project that cannot exist; nothing is made of it.
    must_match TUNER_PROJECT "$TUNER_PROJECT" '[a-z][a-z0-9-]{1,28}[a-z0-9]' "a project id"
  else
    must_match TUNER_PROJECT "$TUNER_PROJECT" '[a-z][a-z0-9-]{4,28}[a-z0-9]' \
      "a project id: 6 to 30 characters of a-z, 0-9, -"
  fi
  must_match TUNER_BUCKET_PREFIX "$TUNER_BUCKET_PREFIX" '[a-z0-9][a-z0-9-]{1,40}' \
    "2 to 41 characters of a-z, 0-9, -"
  must_match DEPLOY_REGION "$DEPLOY_REGION" '[a-z]+-[a-z]+[0-9]+' "a region, as us-central1"
  must_match TUNER_REGIONS "$TUNER_REGIONS" '[a-z]+-[a-z]+[0-9]+(,[a-z]+-[a-z]+[0-9]+)*' \
    "regions, separated by commas"
  must_match TUNER_PRESET "$TUNER_PRESET" 'mistral-7b|smollm2-135m|' "mistral-7b or smollm2-135m"
  must_match TUNER_CONTACT "$TUNER_CONTACT" '[^[:space:]@;,]{1,64}@[^[:space:]@;,]{1,190}|' \
    "an e-mail address"
  must_match TUNER_DAILY_CAP_USD "$TUNER_DAILY_CAP_USD" '[0-9]{1,6}(\.[0-9]+)?|' "dollars"
  must_match TUNER_MAX_ATTEMPTS "$TUNER_MAX_ATTEMPTS" '[1-9]|[1-4][0-9]|50|' "1 to 50"
  must_match TUNER_MAX_UPLOAD_BYTES "$TUNER_MAX_UPLOAD_BYTES" '[1-9][0-9]{0,9}|' "bytes"
  must_match TUNER_KEEP_DAYS "$TUNER_KEEP_DAYS" '[1-9][0-9]{0,3}|' "days"
  must_match TUNER_ORDERED_EVENTS "$TUNER_ORDERED_EVENTS" '[01]|' "0 or 1"
  must_match DEPLOY_MONTHLY_BUDGET "$DEPLOY_MONTHLY_BUDGET" '[1-9][0-9]{0,6}|off' \
    "a whole amount in the currency of the billing account, or off"
  must_match DEPLOY_JOB_LOG_DAYS "$DEPLOY_JOB_LOG_DAYS" '[1-9][0-9]{0,3}' "days, 1 to 3650"
  must_match DEPLOY_UPLOADERS "$DEPLOY_UPLOADERS" \
    '((user|group|serviceAccount|domain):[^,[:space:]]+(,|$))*' \
    "members as user:ada@example.com, separated by commas"
  if ((${#SETTINGS_PROBLEMS[@]})); then
    stop "the settings cannot be used." "${SETTINGS_PROBLEMS[@]}"
  fi
  PROJECT=$TUNER_PROJECT
  REGION=$DEPLOY_REGION
  PREFIX=$TUNER_BUCKET_PREFIX
}
