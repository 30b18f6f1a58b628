"""Write the JSON Schema of the report from its models: python tools/report_schema.py"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.report.document import json_schema

TARGET = Path(__file__).resolve().parents[1] / "pipeline" / "report" / "assets" / "report.schema.json"

if __name__ == "__main__":
    TARGET.write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
    print(TARGET)
