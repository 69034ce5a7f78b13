#!/usr/bin/env python3
"""Makes the samples in this folder that are not written by hand: shoal.png, buoy.csv and station.json.

Run it from anywhere; it writes beside itself. Only whole numbers go into the picture, and its data are stored without
compression, so that every Python writes the same bytes.
"""

import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT = 400, 262
WATER = 192  # palette entries of water, from the surface down; the rest are fish
SHADES = 16  # of each of the four colours of fish
FISH = [(246, 178, 60), (236, 104, 74), (214, 228, 236), (24, 40, 62)]


class Random:
    """Numbers that look random and are always the same (Knuth's MMIX generator)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % bound


def palette():
    top, bottom = (136, 218, 220), (6, 30, 66)
    colours = [tuple(a + (b - a) * i // (WATER - 1) for a, b in zip(top, bottom)) for i in range(WATER)]
    for colour in FISH:
        for shade in range(SHADES):
            part = 24 + shade * 40 // (SHADES - 1)  # the far ones fade into the water
            colours.append(tuple((c * part + w * (64 - part)) // 64 for c, w in zip(colour, (30, 90, 120))))
    return colours


def water(random):
    rows = []
    for y in range(HEIGHT):
        row = []
        for x in range(WIDTH):
            depth = y * (WATER - 20) // HEIGHT + 10
            ray = (x * 2 + y) % 150  # the sun from the upper right, in broad slanting beams
            light = max(0, 30 - abs(ray - 75)) * (HEIGHT - y) // HEIGHT
            row.append(min(WATER - 1, max(0, depth - light + random.below(7) - 3)))
        rows.append(row)
    return rows


def draw_fish(rows, x, y, length, rise, colour, shade):
    """A fish that swims to the right: an ellipse, a tail behind it, an eye; it climbs `rise` in 16."""

    def put(px, py, colour, shade):
        py -= (px - x) * rise // 16
        if 0 <= px < WIDTH and 0 <= py < HEIGHT:
            rows[py][px] = WATER + colour * SHADES + max(0, min(SHADES - 1, shade))

    height = max(2, length * 2 // 5)
    for dy in range(-height, height + 1):
        for dx in range(-length, length + 1):
            if dx * dx * height * height + dy * dy * length * length <= length * length * height * height:
                put(x + dx, y + dy, colour, shade - dy * 4 // height - 2)  # darker below
    for back in range(length * 4 // 5):
        reach = height * (back + 2) * 5 // (length * 6)
        for dy in range(-reach, reach + 1):
            put(x - length - back + length // 4, y + dy, colour, shade - 3)
    size = max(1, length // 9)
    for dy in range(-size, size + 1):
        for dx in range(-size, size + 1):
            if dx * dx + dy * dy <= size * size:
                put(x + length * 5 // 8 + dx, y - height // 4 + dy, 3, SHADES - 1)


def shoal(rows, random):
    for rank in range(110):
        length = 4 + rank // 9  # the near ones last, over the far ones
        x, y = random.below(WIDTH), HEIGHT // 2 + random.below(150) + random.below(90) - 120
        colour = (0, 0, 0, 0, 1, 2)[random.below(6)]
        draw_fish(rows, x, y, length, random.below(5) - 1, colour, 2 + rank * 13 // 110)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def stored(data):
    """A zlib stream that does not compress (RFC 1950; RFC 1951, section 3.2.4)."""
    most = 65535
    blocks = [data[at : at + most] for at in range(0, len(data), most)]
    out = b"\x78\x01"
    for number, block in enumerate(blocks):
        out += struct.pack("<BHH", number == len(blocks) - 1, len(block), len(block) ^ most) + block
    return out + struct.pack(">I", zlib.adler32(data))


def picture():
    random = Random(2026)
    rows = water(random)
    shoal(rows, random)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0)
    pixels = b"".join(b"\0" + bytes(row) for row in rows)
    colours = bytes(part for colour in palette() for part in colour)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", colours)
        + chunk(b"IDAT", stored(pixels))
        + chunk(b"IEND", b"")
    )


# Heights over the middle tide, in centimetres, at quarters of an hour after high water: half a tide of 12 h 30 min.
HALF_TIDE = [180, 177, 171, 161, 148, 133, 115, 95, 73, 50, 26, 1, -24, -48, -72, -94, -114, -132, -148, -161, -171, -177,
             -180, -180, -178]
DAYS = 14


def buoy():
    random = Random(7)
    lines = ["time,tide_cm,water_c,wind_m_s,gust_m_s,wave_cm"]
    wind = 60
    for quarter in range(DAYS * 96):
        hour, minute = quarter // 4 % 24, quarter % 4 * 15
        place = quarter % 50
        height = HALF_TIDE[place] if place < 25 else -HALF_TIDE[place - 25]
        day = quarter // 96
        spring = 70 + 30 * abs(7 - day) // 7  # per cent: spring tide at both ends, neap tide in the middle
        wind = max(5, min(180, wind + random.below(17) - 8))
        warmth = 114 + (6 - abs(15 - hour)) + random.below(3)
        gust = wind * (120 + random.below(40)) // 100
        lines.append(
            f"2026-03-{day + 1:02}T{hour:02}:{minute:02}Z,{height * spring // 100 + random.below(5) - 2},"
            f"{warmth // 10}.{warmth % 10},{wind // 10}.{wind % 10},{gust // 10}.{gust % 10},{wind * wind // 140 + 8}"
        )
    return "\n".join(lines) + "\n"


def station():
    random = Random(11)
    names = ["tide_cm", "water_c", "wind_m_s", "gust_m_s", "wave_cm"]
    units = ["cm", "degree Celsius", "m/s", "m/s", "cm"]
    sensors = [
        {
            "column": name,
            "unit": unit,
            "serial": f"SB-{1000 + random.below(9000)}",
            "calibrated": f"2026-01-{1 + random.below(28):02}",
            "every_minutes": 15,
        }
        for name, unit in zip(names, units)
    ]
    visits = [
        {"day": f"2026-03-{day:02}", "by": by, "done": done}
        for day, by, done in [
            (2, "jane", ["cleaned the solar panel", "read the memory card"]),
            (9, "omar", ["new shackle on the mooring"]),
            (14, "jane", ["read the memory card", "took the buoy in"]),
        ]
    ]
    place = {"name": "Sandbank North", "invented": True, "depth_m": 11, "data": "buoy.csv"}
    return json.dumps({"station": place, "sensors": sensors, "visits": visits}, indent=2) + "\n"


def main():
    (HERE / "shoal.png").write_bytes(picture())
    (HERE / "buoy.csv").write_text(buoy(), encoding="utf-8", newline="\n")
    (HERE / "station.json").write_text(station(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
