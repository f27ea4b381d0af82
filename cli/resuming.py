"""Files that are sent in pieces: what the service has of one is not sent again, nor by the next run of `dcf`."""

from __future__ import annotations

import base64
import hashlib
from uuid import NAMESPACE_URL, uuid5

from cli.client import Api, Json, Refused
from cli.trouble import Trouble

# A smaller file is sent whole.
RESUMABLE_BYTES_MIN = 256 * 1024
PIECE_BYTES = 256 * 1024
# The service may say this often in a row that it stands elsewhere than it was gone on from.
ASTRAY_MAX = 5

_ELSEWHERE = ("upload_offset_mismatch", "upload_overtaken")


def sent_in_pieces(api: Api, kind: str, project_id: str, content: bytes, *, provider: str | None = None) -> Json:
    """The artifact that the file became; `kind` is code, docker or yaml.

    The same file begins the same upload, so whoever was interrupted types the command again.
    """
    digest = hashlib.sha256(content).digest()
    state = api.begin_upload(
        project_id,
        key=f"upload-{uuid5(NAMESPACE_URL, f'{project_id} {kind} {provider} {digest.hex()}')}",
        parameters={"kind": kind, "provider": provider},
        headers={
            "Upload-Length": str(len(content)),
            "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        },
    )
    path = f"projects/{project_id}/uploads/{state['uploadId']}"
    offset, astray = int(state["offset"]), 0
    while astray < ASTRAY_MAX:
        piece = content[offset : offset + PIECE_BYTES]
        is_last = offset + len(piece) == len(content)
        try:
            answer = api.append_to_upload(path, offset, piece, is_last=is_last)
        except Refused as refused:
            if refused.code not in _ELSEWHERE:
                raise
            astray += 1
            offset = int(api.get(path)["offset"])
            continue
        if is_last:
            return answer
        offset, astray = int(answer["offset"]), 0
    raise Trouble("Somebody else sends to the same upload.", then="type the command again when they are done")
