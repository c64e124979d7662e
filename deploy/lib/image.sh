# The trainer's container: built by Cloud Build from the staged folder, referred to by its digest.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

REPOSITORY=ech0
IMAGE=''

# Copy what is deployed.
stage_sources() {
  "${PYTHON[@]}" functions/stage.py "$STAGED" >/dev/null
  local name
  for name in converter submitter completion; do
    # Everything in the folder is uploaded, compiled modules too: gcloud leaves nothing out.
    printf '# Nothing is left out.\n' >"$STAGED/$name/.gcloudignore"
  done
}

# What is to be, from the files that decide it: deliveries, rights, hashes of what is staged. The tag
# of the image is the hash of what it is built from.
read_wishes() {
  local rows key hash
  rows=$("${PYTHON[@]}" deploy/wishes.py "$PROJECT" "$PREFIX" "$NUMBER" "$TUNER_CONTACT" \
    "$DEPLOY_UPLOADERS" "$STAGED")
  WISHES=$rows
  RIGHTS=$(rows_of right)
  PUSH_ACCOUNT=$(rows_of push-account)
  while IFS=$'\t' read -r key hash; do WISH["$key"]=$hash; done < <(rows_of hash)
  IMAGE_TAG=${WISH[trainer]}
}

# Modules that come compiled start five times sooner. Their names and hashes do not depend on when
# that was done: "unchecked" ones are taken as they are.
compile_sources() {
  "${PYTHON[@]}" -m compileall -q --invalidation-mode unchecked-hash \
    "$STAGED/converter" "$STAGED/submitter" "$STAGED/completion" >/dev/null
}

plan_repository() {
  ensure "repository $REPOSITORY" DOCKER "\$0.70 a month for 7 GB" \
    gcloud artifacts repositories create "$REPOSITORY" --location="$REGION" \
    --repository-format=docker --description="ech0-tuner: trainer and functions" \
    --project="$PROJECT"
}

plan_image() {
  local tag=$REGISTRY/trainer:$IMAGE_TAG
  if is_there "image $IMAGE_TAG"; then
    planned unchanged "trainer image" "-"
    return
  fi
  planned create "trainer image ${IMAGE_TAG:0:12}" "about \$0.30 once" \
    gcloud builds submit "$STAGED/trainer" --region="$REGION" --config=deploy/cloudbuild.yaml \
    --substitutions="_IMAGE=$tag" \
    --service-account="projects/$PROJECT/serviceAccounts/$(account_email ech0-build)" \
    --gcs-source-staging-dir="gs://$PREFIX-work/builds" --suppress-logs --project="$PROJECT"
}

# What the functions are told to run. Sets IMAGE; the image must have been built.
image_digest() {
  local digest=${HAVE["image $IMAGE_TAG"]:-}
  if [[ $IMAGE ]]; then return; fi
  if [[ -z $digest ]]; then
    digest=$(gcloud artifacts docker images describe "$REGISTRY/trainer:$IMAGE_TAG" \
      --format='value(image_summary.digest)' --project="$PROJECT" 2>"$LOOK/error") || digest=''
  fi
  if [[ ! $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
    stop "the digest of $REGISTRY/trainer:$IMAGE_TAG cannot be read." "$(tail -n 2 "$LOOK/error")" \
      "Run the same command again: it looks whether the image was built."
  fi
  IMAGE=$REGISTRY/trainer@$digest
}
