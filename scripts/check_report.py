#!/usr/bin/env python3
"""Checks the HTML of `carat bench` with a real XML parser: well-formed, drawn, and alone.

    scripts/check_report.py report.html
"""

import sys
import xml.etree.ElementTree as ElementTree

SVG = "{http://www.w3.org/2000/svg}"


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    root = ElementTree.fromstring(text.removeprefix("<!doctype html>"))
    charts = list(root.iter(SVG + "svg"))
    problems = [] if charts else ["it has no chart"]
    for chart in charts:
        _, _, width, height = map(float, chart.get("viewBox").split())
        name = chart.find(SVG + "title").text
        marks = [e for kind in ("circle", "rect") for e in chart.iter(SVG + kind)]
        if not marks:
            problems.append(f"{name}: nothing is drawn")
        for element in chart.iter():
            for key, limit in (("x", width), ("cx", width), ("x2", width), ("y", height), ("cy", height)):
                value = element.get(key)
                if value is not None and not 0 <= float(value) <= limit:
                    problems.append(f"{name}: {key} is {value} of {limit}")
            for point in element.get("points", "").split():
                x, y = map(float, point.split(","))
                if not (0 <= x <= width and 0 <= y <= height):
                    problems.append(f"{name}: a line leads to {point}")
    for element in root.iter():
        outside = {"src", "href", "srcset"}.intersection(element.keys())
        if outside or element.tag.endswith("script"):
            problems.append(f"<{element.tag}> leads elsewhere")
    if problems:
        sys.exit("check_report: " + "\n".join(problems))
    print(f"{len(charts)} charts, all within their frames")


if __name__ == "__main__":
    main()
