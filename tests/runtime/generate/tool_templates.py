"""Chat templates with tools, written here in the forms that the families' own templates have."""

# ruff: noqa: E501 - texts as models write them

from __future__ import annotations

QWEN = r"""{%- if tools %}{{- '<|im_start|>system\n# Tools\n<tools>' }}{%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}{{- '\n</tools>
<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == "tool" %}{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content }}
{%- for tool_call in message.tool_calls or [] %}{%- set tool_call = tool_call.function %}{{- '\n<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' }}
{{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
LLAMA = r"""{{- bos_token }}{%- for message in messages %}
{%- if 'tool_calls' in message %}{%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}
{%- endif %}{%- set tool_call = message.tool_calls[0].function %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + tool_call.name + '", ' }}
{{- '"parameters": ' }}{{- tool_call.arguments | tojson }}{{- '}<|eot_id|>' }}
{%- elif message.role == "tool" %}{{- "<|start_header_id|>ipython<|end_header_id|>\n\n" + message.content + "<|eot_id|>" }}
{%- else %}{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
{%- if tools is not none and loop.last %}{{- 'Respond in the format {"name": function name, "parameters": dictionary}.\n' }}
{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}{%- endif %}{{- message.content | trim + '<|eot_id|>' }}{%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""
MISTRAL = r"""{{- bos_token }}{%- for message in messages %}{%- if message.role == "user" %}
{%- if tools is not none and loop.last %}{{- "[AVAILABLE_TOOLS] " + (tools | tojson) + "[/AVAILABLE_TOOLS]" }}{%- endif %}{{- "[INST] " + message.content + "[/INST]" }}
{%- elif message.tool_calls is defined %}{{- "[TOOL_CALLS] [" }}{%- for call in message.tool_calls %}{%- set out = call.function | tojson %}{{- out[:-1] }}
{%- if call.id|length != 9 %}{{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}{%- endif %}{{- ', "id": "' + call.id + '"}' }}
{%- if not loop.last %}{{- ", " }}{%- endif %}{%- endfor %}{{- "]" + eos_token }}
{%- elif message.role == "tool" %}{{- '[TOOL_RESULTS] {"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- else %}{{- " " + message.content + eos_token }}{%- endif %}{%- endfor %}"""
MISTRAL_NEW = MISTRAL.replace(
    MISTRAL[MISTRAL.index('{{- "[TOOL_CALLS] ["') : MISTRAL.index("{%- elif message.role == \"tool\"")],
    """{%- for call in message.tool_calls %}{{- "[TOOL_CALLS]" + call.function.name + "[ARGS]" + (call.function.arguments | tojson) }}{%- endfor %}{{- eos_token }}
""",
)  # fmt: skip
MISTRAL_IDS = MISTRAL_NEW.replace('+ "[ARGS]"', '+ "[CALL_ID]" + call.id + "[ARGS]"')
FUNCTION_GEMMA = r"""{{- bos_token }}{%- if tools %}{{- '<start_of_turn>developer\n' }}{%- for tool in tools %}
{{- '<start_function_declaration>declaration:' + tool.function.name + '<end_function_declaration>' }}{%- endfor %}{{- '<end_of_turn>\n' }}{%- endif %}
{%- for message in messages %}{%- if message.role == "tool" %}{{- '<start_function_response>response:' + message.name + '{value:<escape>' + message.content + '<escape>}' }}
{%- else %}{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' + message.content }}
{%- for call in message.tool_calls or [] %}{{- '<start_function_call>call:' + call.function.name + '{' }}{%- for key, value in call.function.arguments | dictsort %}
{{- key + ':<escape>' + (value | string) + '<escape>' }}{%- endfor %}{{- '}<end_function_call>' }}{%- endfor %}{{- '<end_of_turn>\n' }}{%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}"""
GEMMA = (
    FUNCTION_GEMMA.replace("<start_function_call>", "<|tool_call>")
    .replace("<end_function_call>", "<tool_call|>")
    .replace("<escape>", '<|"|>')
)
PHI = (  # the form of Phi-4-mini's own: tools lie in the system message, and calls are text
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}"
    "{{ '<|system|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PHI_CALLS = r"""{%- if tools %}{{- '<|system|>' }}{%- for tool in tools %}{{- '<|tool|>' + (tool.function | tojson) + '<|/tool|>' }}{%- endfor %}{{- '<|end|>' }}{%- endif %}
{%- for message in messages %}{{- '<|' + message.role + '|>' + message.content }}{%- for call in message.tool_calls or [] %}
{{- '<|tool_call|>' + (call.function | tojson) + '<|/tool_call|>' }}{%- endfor %}{{- '<|end|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"""

TEMPLATES = {
    "qwen": QWEN, "llama": LLAMA, "mistral": MISTRAL, "mistral new": MISTRAL_NEW, "mistral ids": MISTRAL_IDS, "function gemma": FUNCTION_GEMMA,
    "gemma": GEMMA, "phi": PHI, "phi calls": PHI_CALLS,
}  # fmt: skip
MARKS = {
    "qwen": ["<tool_call>", "</tool_call>"], "llama": [], "mistral": ["[TOOL_CALLS]"], "mistral new": ["[TOOL_CALLS]", "[ARGS]"],
    "mistral ids": ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"], "function gemma": ["<start_function_call>", "<end_function_call>", "<escape>"],
    "gemma": ["<|tool_call>", "<tool_call|>", '<|"|>'], "phi": ["<|tool_call|>", "<|/tool_call|>"],
    "phi calls": ["<|tool_call|>", "<|/tool_call|>"],
}  # fmt: skip
"""The tokens of their tokenizers that stand in calls."""
