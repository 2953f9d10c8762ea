# SPDX-License-Identifier: Apache-2.0
"""What goes in and comes out of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

# A question, or messages as {"role": ..., "content": ...} with everything else that the server takes in them.
Messages = Union[str, Sequence[Mapping[str, Any]]]
# A text to continue, or token ids.
Prompt = Union[str, Sequence[int]]


@dataclass
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0       # of the prompt, found in the prefix cache
    reasoning_tokens: int = 0    # of the completion


@dataclass
class Delta:
    """A piece of a streamed answer."""

    text: str = ""
    reasoning: str = ""
    tool_calls: List[Dict[str, Any]] = field(default_factory=list)  # pieces, in the API's form
    choice: int = 0


@dataclass
class Answer:
    """A whole answer; of the first choice where several were asked for."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""      # stop, length, tool_calls or insufficient_system_resource
    tool_calls: List[Dict[str, Any]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    request_id: str = ""
    from_cache: bool = False     # of this client; nothing was asked


@dataclass
class CallCounts:
    """What a client has done so far."""

    calls: int = 0
    attempts: int = 0    # of them all, hedges included
    hedges: int = 0      # second servers that were asked because the first was slow
    hedges_won: int = 0  # that answered first


@dataclass
class Model:
    id: str
    max_model_len: int = 0


@dataclass
class Load:
    """What a server has to do at this moment."""

    server: str                           # its address
    requests_running: int = 0
    requests_waiting: int = 0
    queue_tokens: int = 0                 # of the prompts that wait
    kv_cache_usage_ratio: float = 0.0
    memory_budget_bytes: int = 0
    memory_committed_bytes: int = 0
    predicted_wait_seconds: float = 0.0   # of a normal request that arrives now
    ready: bool = False
    draining: bool = False
    queue_limit_requests: Optional[int] = None  # told over gRPC alone
