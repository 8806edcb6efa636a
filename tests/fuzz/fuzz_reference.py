"""A slow reader of delimited text, written from the rules of docs/recommend.md, character by character.

1. A record is a line. A line of blanks and tabs is none. A record has at least the fields that the ids need, and its
   fields beyond the columns are blank.
2. With quoting, a field whose first character (blanks aside) is a quote goes to the closing quote, over lines if need
   be. The closing quote is followed by blanks and a separator or the end of the line. ``""`` stands for a quote within
   quotes, and in backslash mode ``\\"`` too. A field that begins beyond the columns does not go over lines.
3. Both modes are tried, the one that the file's first lines show first. The first record with the right number of
   fields is taken, else the first whose quotes match.
4. If quotes match in neither mode, the record is its first line, split at its separators. It is unusable if an id holds
   a quote, or the number of fields is wrong.
"""

from __future__ import annotations

LIMIT = 2**20


def fields_of(lines, n, separator, width, backslash):
    """Fields of the record that begins at a line, and the line after it; ``None``: quotes do not match."""
    text, at, used, fields, size = lines[n], 0, n, [], 0
    while True:
        begin = at
        while begin < len(text) and text[begin] == " ":
            begin += 1
        value = ""
        if begin < len(text) and text[begin] == '"':
            at = begin + 1
            while True:
                if at >= len(text):
                    if used + 1 >= len(lines) or len(fields) >= width or size + len(text) > LIMIT:
                        return None
                    size += len(text)
                    used += 1
                    text, at = lines[used], 0
                    value += "\n"
                elif backslash and text[at] == "\\" and at + 1 < len(text) and text[at + 1] in '"\\':
                    value += text[at + 1]
                    at += 2
                elif text[at] == '"' and at + 1 < len(text) and text[at + 1] == '"':
                    value += '"'
                    at += 2
                elif text[at] == '"':
                    break
                else:
                    value += text[at]
                    at += 1
            at += 1
            while at < len(text) and text[at] == " ":
                at += 1
            if at < len(text) and text[at] != separator:
                return None
        else:
            while at < len(text) and text[at] != separator:
                value += text[at]
                at += 1
        fields.append(value)
        if at >= len(text):
            return fields, used + 1
        at += 1


def plain_fields(line, separator):
    """Fields of a line without quoting."""
    return (
        [field for field in line.replace("\t", " ").split(" ") if field]
        if separator == "blanks"
        else line.split(separator)
    )


def right_number(fields, needed, width):
    return len(fields) >= needed and not any(field.strip() for field in fields[width:])


def read_reference(lines, separator, width, user, item, quoting, header=None):
    """Pairs of ids and the number of rows left out.

    Args:
        lines: decoded with surrogateescape; the header is left out.
    """
    needed, pairs, bad, n_rows, n = max(user, item) + 1, set(), 0, 0, 0
    first = any(
        line[at : at + 2] == '\\"'
        and at + 2 < len(line)
        and not line[at + 2].isspace()
        and line[at + 2] not in ('"', separator)
        for line in lines[:998]
        for at in range(len(line))
    )
    while n < len(lines):
        line = lines[n]
        if not line.strip(" \t"):
            n += 1
            continue
        n_rows += 1
        if len(line) > LIMIT:
            bad, n = bad + 1, n + 1
            continue
        fields, after, usable = plain_fields(line, separator), n + 1, True
        if quoting and '"' in line:
            readings = [
                each for each in (fields_of(lines, n, separator, width, mode) for mode in (first, not first)) if each
            ]
            right = [each for each in readings if right_number(each[0], needed, width)]
            if readings:
                fields, after = (right or readings)[0]
            elif any('"' in fields[index] for index in (user, item) if index < len(fields)):
                usable = False
        n = after
        if not usable or not right_number(fields, needed, width):
            bad += 1
            continue
        pair = fields[user].strip(), fields[item].strip()
        if not all(pair) or any("\udc80" <= letter <= "\udcff" for letter in "".join(pair)):
            bad += 1
        elif header and pair == (header[user], header[item]):
            bad += 1
        else:
            pairs.add(pair)
    return pairs, bad, n_rows
