from dataclasses import replace

import pytest
from result_cases import CONTEXT


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        replace(CONTEXT, content_time=CONTEXT.content_time.replace(tzinfo=None))
