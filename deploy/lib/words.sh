# What is said to the person, and how a command is written down. Sourced by deploy.sh.
# shellcheck shell=bash disable=SC2034 # names are read in the other files

say() {
  printf '%s\n' "$@"
}

# Say what is wrong and what puts it right, and stop. $1 says what, the others how.
stop() {
  printf 'deploy.sh: %s\n' "$1" >&2
  shift
  if (($#)); then printf '  %s\n' "$@" >&2; fi
  exit 1
}

# The words of a command as one line that a shell reads back as they were.
as_line() {
  local word line='' name
  for word in "$@"; do
    name=''
    # Of a flag only the value is quoted.
    if [[ $word =~ ^(--[a-z-]+=)(.*)$ ]]; then name=${BASH_REMATCH[1]} word=${BASH_REMATCH[2]}; fi
    if [[ ! $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
      word="'${word//\'/\'\\\'\'}'"
    fi
    line+="${line:+ }$name$word"
  done
  printf '%s' "$line"
}

# Whether the person answers yes; without a terminal nobody does.
asked() {
  local answer=''
  [[ -t 0 || -n ${DEPLOY_ANSWERS_FROM_STDIN:-} ]] || return 1
  read -r -p "$1 [y/N] " answer || return 1
  [[ $answer == [yY] || $answer == [yY][eE][sS] ]]
}
