# The same rows as `tuner convert` writes, as long as every dialogue alternates already.
.[]
| {messages: [.conversations[]
    | {role: (if .from == "human" then "user" else "assistant" end), content: .value}]}
