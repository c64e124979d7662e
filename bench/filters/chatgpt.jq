# The same rows as `tuner convert` writes, as long as every branch alternates already: from
# current_node back to the root, what user and assistant say to everybody.
.[]
| .mapping as $nodes
| {messages: [.current_node
    | recurse($nodes[.].parent; . != null)
    | $nodes[.].message
    | select(. != null and .recipient == "all" and .content.content_type == "text")
    | select(.author.role == "user" or .author.role == "assistant")
    | {role: .author.role, content: (.content.parts | add)}]
  | reverse}
