"""Writes configurations with Voxtra 0.3.1's own class into a folder, and prints their names."""

import sys
from pathlib import Path

from voxtra.config import (
    AIConfig,
    AsteriskConfig,
    BackendConfig,
    LiveKitConfig,
    LLMConfig,
    MediaConfig,
    RouteConfig,
    ServerConfig,
    SIPTrunkConfig,
    STTConfig,
    TelephonyConfig,
    TTSConfig,
    VADConfig,
    VoxtraConfig,
    WebhookConfig,
)
from voxtra.types import AudioCodec, MediaTransportType

WORDS = "Two\nlines: 'yes', \"no\"; # * & ! | > % @ ` {x} [y] \u00e9 \u260e \U0001f600 \t end "

EVERYTHING = VoxtraConfig(
    app_name="0123",
    version="1.0",
    telephony=TelephonyConfig(
        asterisk=AsteriskConfig(
            base_url="https://pbx.example.com:8089", username="yes", password="p: #'\"x", app_name="calls"
        ),
        livekit=LiveKitConfig(url="ws://livekit.example.com", api_key="k", api_secret="null"),
        sip_trunks=[
            SIPTrunkConfig(name="a", host="10.0.0.1", port=5061, codec=AudioCodec.ALAW, do_register=False),
            SIPTrunkConfig(name="b", host="10.0.0.2", username="1e3", password="~", codec=AudioCodec.ALAW),
        ],
    ),
    media=MediaConfig(
        transport=MediaTransportType.AUDIOSOCKET,
        codec=AudioCodec.ALAW,
        sample_rate=16000,
        buffer_size_ms=400,
        enable_echo_cancellation=True,
    ),
    ai=AIConfig(
        stt=STTConfig(provider="x", api_key="0x1F", interim_results=False, extra={"a": [1, {"b": None}], "t": (1, 2)}),
        tts=TTSConfig(voice_id="12", sample_rate=24000, extra={"speed": 1.25, "codec": AudioCodec.OPUS}),
        llm=LLMConfig(temperature=1e-07, max_tokens=7, system_prompt=WORDS * 5),
        vad=VADConfig(enabled=False, energy_threshold=1e-05),
    ),
    routes=[
        RouteConfig(extension="1000", handler="support", metadata={"vip": True, "level": 3, "words": WORDS}),
        RouteConfig(number="+265*", agent="malawi"),
        RouteConfig(extension="0755", handler="octal"),
        RouteConfig(extension="1:30", handler="clock"),
    ],
    server=ServerConfig(host="127.0.0.1", port=9090, debug=True),
    backend=BackendConfig(
        webhook=WebhookConfig(
            url="https://example.com/hook?a=b&c=d",
            signing_secret="0o17",
            events=["call.started", "call.ended"],
            timeout_seconds=3,
            max_retries=0,
            retry_backoff=0.25,
        )
    ),
)

SHARED = {"team": "a"}

CONFIGS = {
    "defaults": VoxtraConfig(),
    "everything": EVERYTHING,
    # PyYAML writes what two places share as an anchor and an alias.
    "shared": VoxtraConfig(routes=[RouteConfig(extension=n, handler="h", metadata=SHARED) for n in ("1", "2")]),
    **{f"codec-{codec}": VoxtraConfig(media=MediaConfig(codec=codec)) for codec in AudioCodec},
    **{f"transport-{name}": VoxtraConfig(media=MediaConfig(transport=name)) for name in MediaTransportType},
}

for name, config in CONFIGS.items():
    file = Path(sys.argv[1]) / f"{name}.yaml"
    config.to_yaml(file)
    print(file.name)
