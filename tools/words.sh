# shellcheck shell=bash
# The language of what the shell scripts say, chosen as tools/runtime/language.py does for the programs. Sourced.
# A message has both languages side by side: there may be no Python yet that could look one up in the catalogue.
#   say "English" "中文"     a line; a text that is the same in both languages stands alone
#   $(words "English" "中文")  a part of a line

# What UI_LANG says; otherwise the terminal's locale, and both if that names no language.
choose_language() {
  case $1 in
    zh | en | both) language=$1 && return ;;
  esac
  case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in
    zh*) language=zh ;;
    '' | C | C[.@]* | POSIX | POSIX[.@]*) language=both ;;
    *) language=en ;;
  esac
}
choose_language "${UI_LANG:-}"

words() {
  case $language in
    en) printf '%s' "$1" ;;
    zh) printf '%s' "${2:-$1}" ;;
    *) printf '%s' "$1${2:+ $2}" ;;
  esac
}

# In one language: English, if both are in use.
term() { if [ "$language" = zh ]; then printf '%s' "$2"; else printf '%s' "$1"; fi; }

say() { printf '%s\n' "$(words "$@")"; }

# WIDTH WIDTH_CHINESE ENGLISH CHINESE TEXT: a row of a table. The Chinese has wide characters alone, four at most.
row() {
  local LC_ALL=C # a length is bytes, of which such a character has three
  local title width=$1 taken english=${#3} chinese=$((${#4} * 2 / 3))
  title=$(words "$3" "$4")
  case $language in
    en) taken=$english ;;
    zh) taken=$chinese width=$2 ;;
    *) taken=$((english + 1 + chinese)) width=$(($1 + 9)) ;;
  esac
  printf '  %s%*s%s\n' "$title" $((width - taken)) '' "$5"
}
