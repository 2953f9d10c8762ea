# SPDX-License-Identifier: Apache-2.0
"""Training code of the hadal demo model."""
