"""What a file is whose first bytes are not those its name promises: said in words, with what helps.

A download that failed leaves an HTML page or a few lines for Git LFS under the name of the weights, and pickles are
renamed. "Invalid header" helps nobody then.
"""

DOWNLOAD_AGAIN = "download the file itself, and compare its size with the one shown where it comes from"

# (first bytes in lower case, what that is, what helps)
_BEGINNINGS = [
    (b"version https://git-lfs", "the few lines that Git LFS leaves in place of the file", "git lfs pull"),
    (b"<!doctype", "an HTML page, as a failed download leaves it", DOWNLOAD_AGAIN),
    (b"<html", "an HTML page, as a failed download leaves it", DOWNLOAD_AGAIN),
    (b"<?xml", "an XML page, as a failed download leaves it", DOWNLOAD_AGAIN),
    (b'{"error', "an error message of the server it was to come from", DOWNLOAD_AGAIN),
    (b"tjgg", "a GGML file of before GGUF", "convert it with a llama.cpp of that time, or take a GGUF file"),
    (b"fmgg", "a GGML file of before GGUF", "convert it with a llama.cpp of that time, or take a GGUF file"),
    (b"lmgg", "a GGML file of before GGUF", "convert it with a llama.cpp of that time, or take a GGUF file"),
    (b"pk\x03\x04", "a zip archive, such as PyTorch writes", "groundup import"),
    (b"\x80\x02", "a pickle, which can run any program", "groundup import"),
    (b"\x80\x03", "a pickle, which can run any program", "groundup import"),
    (b"\x80\x04", "a pickle, which can run any program", "groundup import"),
    (b"\x80\x05", "a pickle, which can run any program", "groundup import"),
    (b"\x89hdf", "an HDF5 file, such as TensorFlow writes", "take the safetensors file of this model"),
    (b"\x1f\x8b", "a gzip archive", "gunzip it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unzstd it"),
]


def recognise(head: bytes) -> tuple[str, str] | None:
    """(what it is, what helps) by the first bytes of a file, 64 of which are enough; None if they say nothing."""
    if head.startswith(b"GGUF"):
        return "a GGUF file", "give it the ending .gguf"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, what, hint in _BEGINNINGS:
        if start.startswith(beginning):
            return what, hint
    if head and not head.strip(b"\0"):
        return "zeros, as an interrupted download leaves them", DOWNLOAD_AGAIN
    is_header = len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 1 << 25
    return ("a safetensors file", "give it the ending .safetensors") if is_header else None
