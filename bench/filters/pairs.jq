# The same rows as `tuner convert` writes.
.conversations[]
| {messages: [{role: "user", content: .user}, {role: "assistant", content: .ech0}]}
