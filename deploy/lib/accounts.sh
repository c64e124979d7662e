# APIs, accounts, and who may do what.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

APIS=(
  aiplatform artifactregistry billingbudgets cloudbilling cloudbuild cloudfunctions cloudquotas
  cloudresourcemanager cloudscheduler iam iamcredentials logging monitoring pubsub run storage
)

# Account and what it is for.
ACCOUNTS=(
  "ech0-converter|reads uploads, writes datasets, asks for training"
  "ech0-submitter|launches training jobs or waits for quota"
  "ech0-completion|verifies results, publishes adapters"
  "ech0-vertex-training|training jobs run as it"
  "ech0-push|Pub/Sub and Cloud Scheduler call the functions as it"
  "ech0-build|builds the functions and the trainer image"
)

account_email() {
  printf '%s@%s.iam.gserviceaccount.com' "$1" "$PROJECT"
}

plan_apis() {
  local api missing=()
  for api in "${APIS[@]}"; do
    if ! is_enabled "$api"; then missing+=("$api.googleapis.com"); fi
  done
  if ((${#missing[@]})); then
    planned create "APIs: ${#missing[@]} to enable" free \
      gcloud services enable "${missing[@]}" --project="$PROJECT"
  else
    planned unchanged "APIs" free
  fi
}

plan_accounts() {
  local entry name
  for entry in "${ACCOUNTS[@]}"; do
    name=${entry%%|*}
    ensure "account $(account_email "$name")" on free \
      gcloud iam service-accounts create "$name" --display-name="ech0-tuner: ${entry##*|}" \
      --project="$PROJECT" -- \
      gcloud iam service-accounts enable "$(account_email "$name")" --project="$PROJECT"
  done
}

# Google makes its own accounts in a project late; a right cannot be given to one that is not there.
plan_agents_of_google() {
  local agent=service-$NUMBER
  if ! is_there "right topic dead-letters roles/pubsub.publisher serviceAccount:$agent@gcp-sa-pubsub.iam.gserviceaccount.com"; then
    planned create "Google's account for Pub/Sub" free \
      gcloud beta services identity create --service=pubsub.googleapis.com --project="$PROJECT"
  fi
  if ! is_there "right topic storage-events roles/pubsub.publisher serviceAccount:$agent@gs-project-accounts.iam.gserviceaccount.com"; then
    planned create "Google's account for Cloud Storage" free \
      gcloud storage service-agent --project="$PROJECT"
  fi
}

# The words of gcloud that change who may use a resource; what follows says how. Sets POLICY_OF.
policy_command() {
  local kind=${1%% *} name=${1#* } verb=$2
  case $kind in
  project) POLICY_OF=(gcloud projects "$verb" "$PROJECT") ;;
  bucket) POLICY_OF=(gcloud storage buckets "$verb" "gs://$name") ;;
  topic) POLICY_OF=(gcloud pubsub topics "$verb" "$name") ;;
  subscription) POLICY_OF=(gcloud pubsub subscriptions "$verb" "$name") ;;
  account) POLICY_OF=(gcloud iam service-accounts "$verb" "$name") ;;
  service) POLICY_OF=(gcloud run services "$verb" "ech0-$name" --region="$REGION") ;;
  repository)
    POLICY_OF=(gcloud artifacts repositories "$verb" "$REPOSITORY" --location="$REGION")
    ;;
  esac
}

# plan_right VERB RESOURCE ROLE MEMBER TITLE EXPRESSION: give (add) or take (remove) one right.
plan_right() {
  local verb=$1 resource=$2 role=$3 member=$4 title=$5 expression=$6 condition=()
  if [[ $title != - ]]; then
    condition=(--condition="expression=$expression,title=$title")
  elif [[ ${resource%% *} =~ ^(project|bucket|account)$ ]]; then
    # gcloud asks which condition is meant wherever a policy has any.
    condition=(--condition=None)
  fi
  policy_command "$resource" "$verb-iam-policy-binding"
  POLICY_OF+=(--member="$member" --role="$role" "${condition[@]}" --project="$PROJECT")
  local short=${member#serviceAccount:}
  local name="right ${short%%@*} ${role#roles/} on $resource${title:+ }${title#-}"
  if [[ $verb == add ]]; then
    planned create "${name% }" free "${POLICY_OF[@]}"
  else
    planned delete "${name% }" free "${POLICY_OF[@]}"
  fi
}

# A right as facts.py writes it: what on, which role, whose, under which title.
RIGHT_KEY='^right (project|repository|[a-z]+ [^ ]+) ([^ ]+) ([^ ]+) ?(.*)$'
declare -A WANTED_RIGHTS=()

# take_rights RESOURCE|all: take every right of our accounts that is not wanted, and what makes a
# resource everybody's. An earlier release, other settings or a hand may have given it.
take_rights() {
  local key ours="^serviceAccount:ech0-[a-z-]+@${PROJECT}[.]"
  for key in "${!HAVE[@]}"; do
    if [[ ${WANTED_RIGHTS[$key]:-} || ! $key =~ $RIGHT_KEY ]]; then continue; fi
    local resource=${BASH_REMATCH[1]} role=${BASH_REMATCH[2]} member=${BASH_REMATCH[3]}
    local title=${BASH_REMATCH[4]}
    if [[ $1 != all && $resource != "$1" ]]; then continue; fi
    if [[ $member =~ $ours || ($resource != project && $member =~ ^all(Authenticated)?Users$) ]]; then
      plan_right remove "$resource" "$role" "$member" "${title:--}" "${HAVE[$key]}"
    fi
  done
}

# plan_rights KIND...: give the rights on resources of these kinds.
plan_rights() {
  local resource role member title expression key kind
  while IFS=$'\t' read -r resource role member title expression; do
    for kind in "$@"; do
      if [[ ${resource%% *} != "$kind" ]]; then continue; fi
      key="right $resource $role $member ${title#-}"
      WANTED_RIGHTS[${key% }]=yes
      if is_there "${key% }" && [[ ${HAVE[${key% }]} == "${expression#-}" ]]; then
        planned unchanged "${key% }" free
      else
        plan_right add "$resource" "$role" "$member" "$title" "$expression"
      fi
    done
  done <<<"$RIGHTS"
}
